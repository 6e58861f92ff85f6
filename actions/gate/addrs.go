package gate

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Add puts addresses behind the gate; one that is there already is fine. They
// must not be plumbed before it returns nil. After an error the earlier of many
// may be inside: Remove takes them out.
func (g *Gate) Add(addrs []netip.Addr) error {
	return g.each(addrs, g.add)
}

// Remove takes addresses out; one that is not inside is fine. They must have
// been removed from the machine before.
func (g *Gate) Remove(addrs []netip.Addr) error {
	return g.each(addrs, g.remove)
}

// each hands over the addresses in portions, between which a renewal has its
// turn.
func (g *Gate) each(addrs []netip.Addr, do func([]netip.Addr) error) error {
	list, err := normal(addrs)
	if err != nil {
		return err
	}
	for len(list) > 0 {
		n := min(len(list), chunk)
		if err := g.locked(list[:n], do); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func (g *Gate) locked(addrs []netip.Addr, do func([]netip.Addr) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	return do(addrs)
}

func (g *Gate) add(addrs []netip.Addr) error {
	news := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if _, ok := g.addrs[a]; !ok {
			news[a] = struct{}{}
		}
	}
	if len(news) == 0 {
		return nil
	}
	for a := range news {
		g.addrs[a] = struct{}{}
	}
	err := g.change(news, (*message).addAddrs)
	if err == nil {
		if err = g.stored(news); err != nil {
			err = g.repair(err.Error()) // which reads back too
		}
	}
	if err != nil {
		for a := range news {
			delete(g.addrs, a)
		}
		return fmt.Errorf("add %d addresses to gate %s: %w", len(news), g.name, explain(err))
	}
	return nil
}

func (g *Gate) remove(addrs []netip.Addr) error {
	olds := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		if _, ok := g.addrs[a]; ok {
			olds[a] = struct{}{}
			delete(g.addrs, a)
		}
	}
	if len(olds) == 0 {
		return nil
	}
	if err := g.change(olds, (*message).deleteAddrs); err != nil {
		for a := range olds {
			g.addrs[a] = struct{}{}
		}
		return fmt.Errorf("remove %d addresses from gate %s: %w", len(olds), g.name, explain(err))
	}
	return nil
}

// change tells the kernel of addresses that g.addrs knows of already, so that a
// repair, should their sets or elements be gone, does it too.
func (g *Gate) change(addrs map[netip.Addr]struct{}, write func(*message, byte, string, string, []key)) error {
	g.out.reset()
	g.out.batchBegin()
	for _, t := range tables {
		for _, set := range t.addrs {
			write(&g.out, t.family, g.name, set, keysOf(set, addrs))
		}
	}
	g.out.batchEnd()
	err := g.sock.transact(&g.out)
	if _, gone := refused(err, unix.ENOENT); gone {
		return g.repair("its addresses are gone")
	}
	return err
}
