// Package storages opens nothing: it checks, probes and names storages of Caddy.
package storages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-veeam/veeam-auth/internal/store"
)

// Namespace is that of the modules that are storages.
const Namespace = "caddy.storage"

// Dated is a storage that lists old records.
type Dated struct{ certmagic.Storage }

// Before implements store.Lister.
func (d Dated) Before(ctx context.Context, folder string, moment time.Time) (old []string, err error) {
	keys, err := d.List(ctx, folder, false)
	for _, key := range keys {
		info, err := d.Stat(ctx, key)
		if err == nil && info.IsTerminal && !info.Modified.IsZero() && info.Modified.Before(moment) {
			old = append(old, key)
		}
	}
	return old, err
}

// Check returns an error for an unknown module or option.
func Check(raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		return err
	}
	var name string
	if err := json.Unmarshal(options["module"], &name); err != nil || name == "" {
		return errors.New("the module is missing")
	}
	info, err := caddy.GetModule(Namespace + "." + name)
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

// ErrAbsent is the error of a storage in a folder that does not exist.
var ErrAbsent = errors.New("the folder does not exist")

// Probe writes, reads and deletes a test key, for commands. It takes at
// most 20 seconds. Unlike Caddy it does not create missing folders: if the folder of
// the storage itself is missing, it returns ErrAbsent.
func Probe(ctx context.Context, storage certmagic.Storage) error {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		if _, err := os.Stat(files.Path); errors.Is(err, os.ErrNotExist) {
			return ErrAbsent
		}
	}
	return store.ProbeForCommand(ctx, storage)
}

// Name is the name of a storage in messages: the folder of a file storage,
// otherwise the Go type, because the text of other storages may contain secrets.
func Name(storage certmagic.Storage) string {
	if files, ok := storage.(*certmagic.FileStorage); ok {
		return files.Path
	}
	return fmt.Sprintf("%T", storage)
}

// Key returns a key that identifies a storage.
func Key(storage certmagic.Storage) string {
	key := fmt.Sprintf("%T", storage)
	if s, ok := storage.(fmt.Stringer); ok {
		key += " " + s.String()
	}
	return key
}
