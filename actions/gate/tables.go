package gate

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// buildAttempts is how often a build is tried again because somebody changed
// tables between our look at them and the transaction.
const buildAttempts = 4

// found is a table of our name in the kernel.
type found struct {
	there  bool
	handle uint64
	flags  uint32
	owner  uint32 // the netlink socket that owns it; 0: none that lives
}

// look finds the tables of our name, in the order of tables. One that is not
// flip's, or that a living process owns, is ErrForeign.
func (g *Gate) look() ([]found, error) {
	all := make([]found, len(tables))
	for i, t := range tables {
		f, err := g.lookAt(t.family)
		if err != nil {
			return nil, err
		}
		if f.there && f.flags&tableOwned != 0 && f.owner != g.sock.port {
			return nil, fmt.Errorf("%w: table %s belongs to a running process (netlink port %d): is another flip with this name running?", ErrForeign, g.name, f.owner)
		}
		if f.there {
			ours, err := g.signed(t.family)
			if err != nil {
				return nil, err
			}
			if !ours {
				return nil, fmt.Errorf("%w: table %s was not made by flip: delete or rename it", ErrForeign, g.name)
			}
		}
		all[i] = f
	}
	return all, nil
}

func (g *Gate) lookAt(family byte) (found, error) {
	var f found
	g.out.reset()
	g.out.nft(unix.NFT_MSG_GETTABLE, 0, family)
	g.out.str(unix.NFTA_TABLE_NAME, g.name)
	_, err := g.sock.query(&g.out, func(r reply) {
		f.there = true
		f.handle = number(find(r.body, attrTableHandle))
		f.flags = uint32(number(find(r.body, unix.NFTA_TABLE_FLAGS)))
		f.owner = uint32(number(find(r.body, attrTableOwner)))
	})
	if errors.Is(err, unix.ENOENT) {
		return found{}, nil
	}
	if errors.Is(err, unix.EINVAL) { // nobody answers for the subsystem
		return found{}, fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	return f, err
}

// signed says whether the table of our name has flip's mark.
func (g *Gate) signed(family byte) (bool, error) {
	var ours bool
	g.out.reset()
	g.out.nft(unix.NFT_MSG_GETSET, 0, family)
	g.out.str(unix.NFTA_SET_TABLE, g.name)
	g.out.str(unix.NFTA_SET_NAME, setLease)
	_, err := g.sock.query(&g.out, func(r reply) {
		ours = bytes.Contains(find(r.body, unix.NFTA_SET_USERDATA), []byte(signature))
	})
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return ours, err
}

// build makes both tables anew in one transaction, shut, with the addresses of
// g.addrs. No packet sees a moment between the old ones and the new.
func (g *Gate) build() error {
	var err error
	for range buildAttempts {
		var was []found
		if was, err = g.look(); err != nil {
			return err
		}
		asked := g.owned
		g.out.reset()
		g.out.batchBegin()
		deletions := 0
		for i, t := range tables {
			if was[i].there {
				g.out.deleteTable(t.family, was[i].handle)
				deletions++
			}
		}
		first := 0
		for i, t := range tables {
			at := g.out.newTable(t, g.name, asked, g.fuse, g.addrs)
			if i == 0 {
				first = at
			}
		}
		g.out.batchEnd()
		g.lapse() // not even if it fails: then nobody knows
		err = g.sock.transact(&g.out)
		var b *batchError
		switch {
		case err == nil:
			if !g.owned {
				g.watch.builds.Add(1)
			}
			return g.check()
		case !errors.As(err, &b):
			return err
		case asked && b.index == first && (b.errno == unix.EOPNOTSUPP || b.errno == unix.EINVAL || b.errno == unix.ERANGE):
			if err := g.disown(); err != nil { // a kernel before 6.9
				return err
			}
		case b.errno == unix.ENOENT && b.index >= deletions:
			return fmt.Errorf("%w (%w)", ErrUnavailable, err) // a part of nf_tables is missing
		case b.errno != unix.ENOENT && b.errno != unix.EEXIST:
			return err
		}
	}
	return err
}

// check reads back what build has made.
func (g *Gate) check() error {
	now, err := g.look()
	if err != nil {
		return err
	}
	for i, f := range now {
		owned := f.flags&tableOwned != 0 && f.flags&tablePersists != 0 && f.owner == g.sock.port
		if !f.there || owned != g.owned {
			return fmt.Errorf("table %s of family %d: there %t, owned %t after it was built", g.name, tables[i].family, f.there, owned)
		}
	}
	if err := g.stored(g.addrs); err != nil {
		return err
	}
	g.picture, err = g.draw()
	return err
}

// repair builds the tables anew after somebody else has touched them. It shuts
// the gate: what is left of the lease must be read again, under a fuse.
func (g *Gate) repair(why string) error {
	began := time.Now()
	if err := g.build(); err != nil {
		return fmt.Errorf("repair gate %s (%s): %w", g.name, why, explain(err))
	}
	g.stats.Repairs++
	select {
	case g.changed <- struct{}{}:
	default:
	}
	g.log.Warn().Str("gate", g.name).Str("why", why).Dur("took", time.Since(began)).
		Int("addrs", len(g.addrs)).Msg("gate repaired, shut")
	return nil
}

// draw gives all that is constant of the tables, as the kernel tells it: two
// pictures are the same only if nobody has touched them.
func (g *Gate) draw() ([]byte, error) {
	for range buildAttempts {
		var p []byte
		again := false
		for _, t := range tables {
			for _, kind := range []uint16{unix.NFT_MSG_GETTABLE, unix.NFT_MSG_GETCHAIN, unix.NFT_MSG_GETSET, unix.NFT_MSG_GETRULE} {
				g.out.reset()
				g.out.nft(kind, unix.NLM_F_DUMP, t.family)
				if kind != unix.NFT_MSG_GETTABLE && kind != unix.NFT_MSG_GETCHAIN { // these know no filter
					g.out.str(unix.NFTA_RULE_TABLE, g.name)
				}
				torn, err := g.sock.query(&g.out, func(r reply) {
					if text(find(r.body, unix.NFTA_TABLE_NAME)) == g.name { // attribute 1 in all of them
						p = append(p, constant(kind, r.body)...)
					}
				})
				if err != nil {
					return nil, err
				}
				again = again || torn
			}
		}
		if !again {
			return p, nil
		}
	}
	return nil, nil
}

// constant leaves out what of a set changes with its elements. Its handle, as
// that of the others, is new with each that is made.
func constant(kind uint16, body []byte) []byte {
	if kind != unix.NFT_MSG_GETSET {
		return body
	}
	return append([]byte(text(find(body, unix.NFTA_SET_NAME))), find(body, attrSetHandle)...)
}

// intact says whether the tables are as build left them and let pass no more
// than Renew has allowed. It is asked when events were lost.
func (g *Gate) intact() (bool, error) {
	p, err := g.draw()
	if err != nil || p == nil || !bytes.Equal(p, g.picture) {
		return false, err
	}
	for _, t := range tables {
		for _, set := range t.addrs {
			want := keysOf(set, g.addrs)
			have, err := g.reader().elements(t.family, set, len(want))
			if err != nil || len(have) > len(want) {
				return false, err
			}
			if gone, err := g.reader().absent(t.family, set, want, have); err != nil || len(gone) > 0 {
				return false, err
			}
		}
		leases, err := g.reader().elements(t.family, setLease, 0)
		if err != nil {
			return false, err
		}
		for _, e := range leases {
			if e.ends <= 0 || e.ends > g.Left()+margin*g.tick {
				return false, nil
			}
		}
	}
	return true, nil
}

// stored reads back whether the sets hold all of addrs: a message that names too
// many elements is cut without an error.
func (g *Gate) stored(addrs map[netip.Addr]struct{}) error {
	for _, t := range tables {
		for _, set := range t.addrs {
			want := keysOf(set, addrs)
			var have map[string]element
			if len(want) > few {
				var err error
				if have, err = g.reader().elements(t.family, set, len(want)); err != nil {
					return fmt.Errorf("read set %s back: %w", set, err)
				}
			}
			gone, err := g.reader().absent(t.family, set, want, have)
			if err != nil {
				return fmt.Errorf("read set %s back: %w", set, err)
			}
			if len(gone) > 0 {
				a, _ := netip.AddrFromSlice(gone[0])
				return fmt.Errorf("set %s does not hold %d of %d addresses after they were added: %s and others", set, len(gone), len(want), a)
			}
		}
	}
	return nil
}
