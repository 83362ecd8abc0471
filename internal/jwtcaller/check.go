// Reading the keys of a provider once, for somebody who looks whether that works.

package jwtcaller

import "context"

// KeysRead is what was found where the keys of a provider are.
type KeysRead struct {
	// Keys are the names of those that count. A key need not have one.
	Keys []string

	// LeftOut says of each other one why it does not count.
	LeftOut []error
}

// Place is where the keys of the provider are: a file or an address.
func (c *Config) Place() string { return c.JWKSFile + c.JWKSURL }

// ReadKeys reads the keys of the provider once, within ten seconds, apart from those that a
// running site has. An error of the keys has a veeam.Reason.
func (c *Config) ReadKeys(ctx context.Context) (*KeysRead, error) {
	l, err := c.check()
	if err != nil {
		return nil, err
	}
	s := newSource(c.place(l), func(Report) {})
	defer s.stop()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	set, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	read := &KeysRead{LeftOut: set.leftOut}
	for _, k := range set.keys {
		read.Keys = append(read.Keys, k.id)
	}
	return read, nil
}

func (c *Config) place(l limits) place {
	p := place{
		provider: c.name(), file: c.JWKSFile, url: c.JWKSURL, ca: c.JWKSCA, tokenFile: c.JWKSTokenFile,
		every: l.refresh, maxAge: l.maxAge,
	}
	if c.JWKSFile != "" {
		p.every = filePeriod
	}
	return p
}
