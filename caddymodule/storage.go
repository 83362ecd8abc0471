// Caddy's storages: opening, testing and naming them.

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/internal/issuer"
	"github.com/caddy-veeam/veeam-auth/internal/store"
	"github.com/caddy-veeam/veeam-auth/internal/veeam"
)

const storageNamespace = "caddy.storage"

// dated is a storage that lists old records.
type dated struct{ certmagic.Storage }

// Before implements store.Lister.
func (d dated) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	keys, err := d.List(ctx, folder, false)
	for _, key := range keys {
		info, err := d.Stat(ctx, key)
		if err == nil && info.IsTerminal && !info.Modified.IsZero() && info.Modified.Before(moment) {
			old = append(old, key)
		}
	}
	return old, err
}

// opener returns a function that opens the storage of a cache, by default Caddy's own.
// It validates the configuration as far as possible without provisioning.
func (c *Cache) opener(ctx caddy.Context) (store.Open, error) {
	if c.StorageRaw == nil {
		return store.Opened(dated{ctx.Storage()}), nil
	}
	return func() (store.Store, func(), error) {
		within, cancel := caddy.NewContext(ctx)
		// A copy, because loading a module clears the field.
		module, err := within.LoadModule(&Cache{StorageRaw: c.StorageRaw}, "StorageRaw")
		if err == nil {
			var storage certmagic.Storage
			if storage, err = module.(caddy.StorageConverter).CertMagicStorage(); err == nil {
				return dated{storage}, cancel, nil
			}
		}
		cancel()
		return nil, nil, err
	}, checkStorage(c.StorageRaw)
}

// checkStorage returns an error for an unknown module or option.
func checkStorage(raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(options["module"], &name); err != nil || name == "" {
		return errors.New("the module is missing")
	}
	info, err := caddy.GetModule(storageNamespace + "." + name)
	if err != nil {
		return err
	}
	delete(options, "module")
	bare, err := json.Marshal(options)
	if err != nil {
		return err
	}
	module := info.New()
	if _, ok := module.(caddy.StorageConverter); !ok {
		return fmt.Errorf("%s is not a storage", name)
	}
	return caddy.StrictUnmarshalJSON(bare, module)
}

// ErrStorageAbsent is the error of a storage in a folder that does not exist.
var ErrStorageAbsent = errors.New("the folder does not exist")

// ProbeStorage writes, reads and deletes a test key, for commands. It takes at
// most 20 seconds. Unlike Caddy it does not create missing folders: if the folder of
// the storage itself is missing, it returns ErrStorageAbsent.
func ProbeStorage(ctx context.Context, storage certmagic.Storage) error {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		if _, err := os.Stat(files.Path); errors.Is(err, os.ErrNotExist) {
			return ErrStorageAbsent
		}
	}
	return store.ProbeForCommand(ctx, storage)
}

// StorageName is the name of a storage in messages: the folder of a file storage,
// otherwise the Go type, because the text of other storages may contain secrets.
func StorageName(storage certmagic.Storage) string {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		return files.Path
	}
	return fmt.Sprintf("%T", storage)
}

// storageKey returns a key that identifies a storage.
func storageKey(storage certmagic.Storage) string {
	key := fmt.Sprintf("%T", storage)
	if s, ok := storage.(fmt.Stringer); ok {
		key += " " + s.String()
	}
	return key
}

// unseenRevocations is called when this process cannot read the revocations of others.
// It logs to the current log of the process, because an issuer outlives configurations.
func unseenRevocations(err error) {
	caddy.Log().Named("veeam_auth.tokens").Warn("revocations by other replicas cannot be read", zap.Error(err))
}

// tryTokenStorage logs whether the storage of tokens fails. If its files cannot be written,
// tokens are kept in memory.
func tryTokenStorage(ctx context.Context, storage certmagic.Storage, tokens *issuer.Pooled, logger *zap.Logger) {
	fields := []zap.Field{zap.String("reason", string(veeam.ReasonStorage)), zap.String("storage", StorageName(storage))}
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
