// The sources of a transport, found without a lock, however many accounts there are.

package upstream

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-veeam/veeam-auth/internal/account"
)

// sourceKey is what a request selects: an account at an upstream.
type sourceKey struct {
	Address
	parent  bool
	account string
	user    string
}

// sourceAt is what tells the sources of one account apart.
type sourceAt struct {
	Address
	parent bool
}

func (k sourceKey) at() sourceAt { return sourceAt{k.Address, k.parent} }

// sources are those of the configured accounts of a transport. Each account has a table of
// its own, so that what an addition costs does not depend on the other accounts.
type sources struct {
	accounts *account.Table[accountSources]

	mu        sync.Mutex // of additions
	addresses map[Address]*addressSources
}

// accountSources are the sources of one account: a table that is replaced, never written to.
type accountSources struct {
	known atomic.Pointer[sourceTable]
}

// fewSources is up to how many sources have no map, which takes more memory than they do.
const fewSources = 4

// sourceTable are sources by their places: all of them, and a map if they are not few.
type sourceTable struct {
	all  []*Source
	byAt map[sourceAt]*Source
	few  [fewSources]*Source // the memory of all, which is read together with it
}

func newSourceTable(all []*Source) *sourceTable {
	t := new(sourceTable)
	if len(all) <= fewSources {
		t.all = t.few[:copy(t.few[:], all)]
		return t
	}
	t.all, t.byAt = slices.Clone(all), make(map[sourceAt]*Source, len(all))
	for _, source := range all {
		t.byAt[source.key.at()] = source
	}
	return t
}

func (t *sourceTable) get(at sourceAt) *Source {
	if t.byAt != nil {
		return t.byAt[at]
	}
	for _, source := range t.all {
		if source.key.parent == at.parent && source.key.Address == at.Address {
			return source
		}
	}
	return nil
}

// addressSources are the sources at one address.
type addressSources struct {
	place   Place        // of its first source, whose texts the others share
	used    atomic.Int64 // by any of them, latest, unix seconds
	sources map[*Source]bool
}

func newSources(accounts []*account.Account) *sources {
	return &sources{accounts: account.NewTable[accountSources](accounts), addresses: make(map[Address]*addressSources)}
}

// get returns the source at a place, nil if there is none. It takes no lock and allocates
// nothing.
func (s *accountSources) get(at sourceAt) *Source {
	if known := s.known.Load(); known != nil {
		return known.get(at)
	}
	return nil
}

// get returns the source of a key, nil if there is none.
func (s *sources) get(key sourceKey) *Source {
	if of := s.accounts.Named(key.account); of != nil {
		return of.Kept.get(key.at())
	}
	return nil
}

// add adds a source, unless there is one. It also returns those that have made room: of
// the address that was not used for the longest time, if there are too many addresses.
func (s *sources) add(key sourceKey, create func() *Source) (found *Source, left []*Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.get(key); found != nil {
		return found, nil
	}
	at := s.addresses[key.Address]
	if at == nil {
		at = &addressSources{sources: make(map[*Source]bool)}
	}
	added := create()
	if len(at.sources) == 0 {
		at.place = added.place
	}
	if added.place == at.place {
		added.place, added.key.Address = at.place, at.place.Address
	}
	added.at = at
	at.sources[added] = true
	added.touchAddress(added.used.Load())
	s.addresses[key.Address] = at
	s.change(key.account, func(known []*Source) []*Source { return append(known, added) })
	return added, s.makeRoomLocked()
}

// change replaces the table of an account.
func (s *sources) change(name string, change func([]*Source) []*Source) {
	of := s.accounts.Named(name)
	var before []*Source
	if known := of.Kept.known.Load(); known != nil {
		before = slices.Clone(known.all)
	}
	of.Kept.known.Store(newSourceTable(change(before)))
}

func (s *sources) makeRoomLocked() (left []*Source) {
	if len(s.addresses) <= MaxAddresses {
		return nil
	}
	var oldest Address
	for address, at := range s.addresses {
		if oldest == (Address{}) || at.used.Load() < s.addresses[oldest].used.Load() {
			oldest = address
		}
	}
	for source := range s.addresses[oldest].sources {
		left = append(left, source)
		s.change(source.key.account, func(known []*Source) []*Source {
			return slices.DeleteFunc(known, func(other *Source) bool { return other == source })
		})
	}
	delete(s.addresses, oldest)
	return left
}

// all are all sources.
func (s *sources) all() iter.Seq[*Source] {
	return func(yield func(*Source) bool) {
		for entry := range s.accounts.All() {
			if !entry.Kept.each(yield) {
				return
			}
		}
	}
}

// of are the sources of an account.
func (s *sources) of(name string) iter.Seq[*Source] {
	return func(yield func(*Source) bool) {
		if entry := s.accounts.Named(name); entry != nil {
			entry.Kept.each(yield)
		}
	}
}

// each yields the sources of an account, until yield returns false.
func (s *accountSources) each(yield func(*Source) bool) bool {
	known := s.known.Load()
	return known == nil || !slices.ContainsFunc(known.all, func(source *Source) bool { return !yield(source) })
}

// atAddress are the sources at an address.
func (s *sources) atAddress(address Address) (found []*Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.addresses[address]; at != nil {
		found = make([]*Source, 0, len(at.sources))
		for source := range at.sources {
			found = append(found, source)
		}
	}
	return found
}

// touchAddress takes down that a source at the address is used. It seldom writes what all
// requests read.
func (s *Source) touchAddress(seconds int64) {
	if s.at != nil && s.at.used.Load() < seconds {
		s.at.used.Store(seconds)
	}
}
