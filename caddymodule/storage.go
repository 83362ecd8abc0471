// Caddy's storage as that of tokens: what is told of it.

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
