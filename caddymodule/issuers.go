// The issuers of the process: one for each storage.

package caddymodule

import (
	"context"
	"fmt"

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

// Destruct implements caddy.Destructor.
func (p *pooledIssuer) Destruct() error {
	p.stop()
	<-p.done
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
