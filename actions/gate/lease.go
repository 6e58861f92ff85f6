package gate

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// margin is how many ticks an element ends before the lease: one that the
// kernel's clock may be into already, one that the timer may fire late.
const margin = 2

// shortest is the least number of ticks that a renewal is worth; 0 milliseconds
// on the wire would mean for ever.
const shortest = 2

// Renew opens the gate, or keeps it open, for what left gives, less the fuse and
// two ticks. It is one call of left between two transactions: the first sets the
// fuse, the second removes it and, if that was still there, extends. A thread
// held up anywhere between them finds its fuse gone and opens nothing. left is
// called with the gate's lock held: of the gate it may call Left alone.
//
// ErrLapsed says that nothing was opened; what was open shuts at its own time.
func (g *Gate) Renew(left func() (time.Duration, bool)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	began := time.Now()
	err := g.renew(left)
	if err != nil {
		if errors.Is(err, ErrLapsed) {
			g.stats.Refused++
		}
		return err
	}
	g.stats.Renewals++
	g.stats.Last = time.Since(began)
	g.stats.Worst = max(g.stats.Worst, g.stats.Last)
	return nil
}

func (g *Gate) renew(left func() (time.Duration, bool)) error {
	if err := g.light(); err != nil {
		return err
	}
	remaining, ok := left()
	if !ok {
		return fmt.Errorf("%w: no lease runs", ErrLapsed)
	}
	lifetime, ok := lifetimeOf(remaining, g.fuse, g.tick)
	if !ok {
		return fmt.Errorf("%w: only %s of the lease is left", ErrLapsed, remaining)
	}
	g.out.reset()
	g.out.batchBegin()
	g.out.elements(unix.NFT_MSG_DELSETELEM, 0, unix.NFPROTO_INET, g.name, setFuse, 0, fuseKey(g.fuseNo))
	if g.live {
		for _, t := range tables {
			g.out.leases(unix.NFT_MSG_DELSETELEM, 0, t, g.name, 0)
		}
	}
	for _, t := range tables {
		// NLM_F_EXCL: a plain add of what is there would do something else on
		// each kernel: nothing, or extend it.
		g.out.leases(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t, g.name, lifetime)
	}
	g.out.batchEnd()
	ends := time.Now().Add(lifetime + g.fuse) // the call is done within the fuse, or not at all
	if err := g.sock.transact(&g.out); err != nil {
		return g.refused(err)
	}
	if done := time.Now().Add(lifetime); done.Before(ends) {
		ends = done
	}
	g.live = true
	g.until.Store(&ends)
	return nil
}

// lifetimeOf is how long the lease elements may live, in whole milliseconds.
func lifetimeOf(left, fuse, tick time.Duration) (time.Duration, bool) {
	d := (left - fuse - margin*tick).Truncate(time.Millisecond)
	return d, d >= shortest*tick
}

// light sets a fuse of its own name. The kernel removes it in time.
func (g *Gate) light() error {
	for again := false; ; again = true {
		g.fuseNo++
		g.out.reset()
		g.out.batchBegin()
		g.out.elements(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, unix.NFPROTO_INET, g.name, setFuse, g.fuse, fuseKey(g.fuseNo))
		g.out.batchEnd()
		err := g.sock.transact(&g.out)
		if _, gone := refused(err, unix.ENOENT); !gone || again {
			return explain(err)
		}
		if err := g.repair("its table is gone"); err != nil {
			return err
		}
	}
}

// refused says what the kernel's refusal of a renewal means. Nothing was opened.
func (g *Gate) refused(err error) error {
	index, absent := refused(err, unix.ENOENT)
	switch {
	case absent && index == 0:
		g.stats.Late++
		return fmt.Errorf("%w: the call came later than %s after the clock was read", ErrLapsed, g.fuse)
	case absent && g.live:
		// Not all of the elements need to be gone.
		return errors.Join(fmt.Errorf("%w: it had shut by itself", ErrLapsed), g.shut())
	case absent:
		if err := g.repair("its lease set is gone"); err != nil {
			return err
		}
		return fmt.Errorf("%w: the tables had to be repaired", ErrLapsed)
	}
	if _, there := refused(err, unix.EEXIST); there {
		return errors.Join(fmt.Errorf("%w: it was open without our doing", ErrLapsed), g.shut())
	}
	return explain(err)
}

// leases writes a message about all lease elements of a table.
func (m *message) leases(kind, flags uint16, t table, name string, lifetime time.Duration) {
	var keys [2]key
	for i := range t.leases {
		keys[i] = t.leases[i : i+1]
	}
	m.elements(kind, flags, t.family, name, setLease, lifetime, keys[:len(t.leases)]...)
}

// Shut closes the gate now. It is right also while nothing is open.
func (g *Gate) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return ErrClosed
	}
	return g.shut()
}

func (g *Gate) shut() error {
	g.out.shut(g.name)
	err := g.sock.transact(&g.out)
	if err == nil {
		g.lapse()
		return nil
	}
	if _, gone := refused(err, unix.ENOENT); gone {
		return g.repair("its tables are gone")
	}
	return fmt.Errorf("shut gate %s: %w", g.name, explain(err))
}

// shut writes what empties the lease sets, and the fuses' too: whoever is on the
// way between lighting one and extending the lease is refused.
func (m *message) shut(name string) {
	m.reset()
	m.batchBegin()
	m.elements(unix.NFT_MSG_DELSETELEM, 0, unix.NFPROTO_INET, name, setFuse, 0)
	for _, t := range tables {
		m.elements(unix.NFT_MSG_DELSETELEM, 0, t.family, name, setLease, 0)
	}
	m.batchEnd()
}
