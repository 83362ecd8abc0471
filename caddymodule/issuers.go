// The issuers of the process: one for each storage.

package caddymodule

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-veeam/veeam-auth/issuer"
)

// issuerPool keeps one issuer for each storage over reloads, because an issuer
// remembers who has logged out.
var issuerPool = caddy.NewUsagePool()

// pooledIssuer is an issuer that keeps up with the other replicas.
type pooledIssuer struct {
	*issuer.Issuer
	stop context.CancelFunc
	done chan struct{}
}

// tellFor is how long the end of an issuer waits for what it has to tell the others.
// A storage that hangs need not heed that it is not wanted any more.
const tellFor = 5 * time.Second

// Destruct implements caddy.Destructor.
func (p *pooledIssuer) Destruct() error {
	p.stop()
	timer := time.NewTimer(tellFor)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	return nil
}

func acquireIssuer(storage certmagic.Storage) (i *issuer.Issuer, key string) {
	key = fmt.Sprintf("%T", storage)
	if s, ok := storage.(fmt.Stringer); ok {
		key += " " + s.String()
	}
	value, _, _ := issuerPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		ctx, stop := context.WithCancel(context.Background())
		p := &pooledIssuer{Issuer: issuer.New(issuer.NewKeys(storage)), stop: stop, done: make(chan struct{})}
		go func() {
			defer close(p.done)
			p.Watch(ctx, func(err error) {
				caddy.Log().Named("veeam_auth.tokens").Warn("revocations of other replicas are not seen at present", zap.Error(err))
			})
		}()
		return p, nil
	})
	return value.(*pooledIssuer).Issuer, key
}

// liveIssuers lists the issuers of the running configuration.
func liveIssuers() (live []*issuer.Issuer) {
	issuerPool.Range(func(_, value any) bool {
		live = append(live, value.(*pooledIssuer).Issuer)
		return true
	})
	return live
}
