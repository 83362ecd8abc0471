// Caddy's storages: opening that of a cache, and trying that of tokens.

package caddymodule

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/caddymodule/storages"
	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

// opener returns a function that opens the storage of a cache, by default Caddy's own.
// It validates the configuration as far as possible without provisioning.
func (c *Cache) opener(ctx caddy.Context) (store.Open, error) {
	if c.StorageRaw == nil {
		return store.Opened(storages.Dated{Storage: ctx.Storage()}), nil
	}
	return func() (store.Store, func(), error) {
		within, cancel := caddy.NewContext(ctx)
		// A copy, because loading a module clears the field.
		module, err := within.LoadModule(&Cache{StorageRaw: c.StorageRaw}, "StorageRaw")
		if err == nil {
			var storage certmagic.Storage
			if storage, err = module.(caddy.StorageConverter).CertMagicStorage(); err == nil {
				return storages.Dated{Storage: storage}, cancel, nil
			}
		}
		cancel()
		return nil, nil, err
	}, storages.Check(c.StorageRaw)
}

// unseenRevocations is called when this process cannot read the revocations of others.
// It logs to the current log of the process, because an issuer outlives configurations.
func unseenRevocations(err error) {
	caddy.Log().Named("veeam_auth.tokens").Warn("revocations by other replicas cannot be read", zap.Error(err))
}

// tryTokenStorage logs whether the storage of tokens fails. If its files cannot be written,
// tokens are kept in memory.
func tryTokenStorage(ctx context.Context, storage certmagic.Storage, tokens *issuer.Pooled, logger *zap.Logger) {
	fields := []zap.Field{zap.String("reason", string(veeam.ReasonStorage)), zap.String("storage", storages.Name(storage))}
	if files, ok := storage.(*certmagic.FileStorage); ok {
		if err := store.Unwritable(files.Path); err != nil {
			tokens.KeepInMemory(ctx)
			logger.Error("Caddy's storage cannot be written to: tokens issued here end with this process. Set XDG_DATA_HOME to a folder that Caddy may write to, "+
				"or the global option storage", append(fields, zap.Error(err))...)
			return
		}
	}
	if err := store.Probe(ctx, storage); err != nil && ctx.Err() == nil {
		logger.Warn("Caddy's storage does not work: until it does, tokens can be neither issued nor verified, and such requests are refused",
			append(fields, zap.Error(err))...)
	}
}
