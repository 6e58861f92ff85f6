package gate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// watchBuffer holds what the kernel tells of others' changes until it is read:
// some 10,000 of them. More are seen as lost, and the tables are compared.
const watchBuffer = 4 << 20

// watch hears of every change of the ruleset, once it listens.
type watch struct {
	name string
	own  uint32 // the socket whose changes are ours
	file *os.File
	raw  syscall.RawConn
	buf  []byte
	// builds counts those whose own news have not come yet: what is heard before
	// them was done to the tables they have replaced.
	builds atomic.Int32
}

// news is what was heard since the last time.
type news struct {
	touched bool   // somebody changed our tables
	lost    bool   // changes were not told for want of room
	by      string // who changed the ruleset last
}

func newWatch(name string, own uint32) (*watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open a socket to watch nf_tables: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer) // a smaller one loses more: then the tables are compared
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind a socket to watch nf_tables: %w", err), unix.Close(fd))
	}
	w := &watch{name: name, own: own, file: os.NewFile(uintptr(fd), "nf_tables"), buf: make([]byte, readSize)}
	if w.raw, err = w.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch nf_tables: %w", err), w.file.Close())
	}
	return w, nil
}

// listen makes the kernel tell of every change, ours too. That costs each of them
// as much again, so nobody listens where there is nothing to hear.
func (w *watch) listen() error {
	var err error
	if e := w.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	}); e != nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("watch nf_tables: %w", err)
	}
	return nil
}

func (w *watch) close() error { return w.file.Close() }

// next waits for changes and reads all that are there.
func (w *watch) next() (news, error) {
	var n news
	var failed error
	err := w.raw.Read(func(fd uintptr) bool {
		var heard bool
		heard, failed = w.drain(int(fd), &n)
		return heard || failed != nil
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// drain reads without waiting and says whether there was anything.
func (w *watch) drain(fd int, n *news) (heard bool, err error) {
	for {
		size, err := unix.Read(fd, w.buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return heard, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			n.lost, heard = true, true
			w.builds.Store(0)
			continue
		case err != nil:
			return heard, fmt.Errorf("watch nf_tables: %w", err)
		}
		heard = true
		w.read(w.buf[:size], n)
	}
}

// read takes in one datagram of changes.
func (w *watch) read(b []byte, n *news) {
	for r, err := range replies(b) {
		if err != nil {
			n.lost = true
			w.builds.Store(0)
			return
		}
		if r.kind&0xff00 != subsystem || r.port == 0 {
			continue
		}
		if r.port == w.own {
			if r.kind == subsystem|unix.NFT_MSG_NEWTABLE && r.family == tables[0].family {
				w.builds.Add(-1)
				n.touched = false
			}
			continue
		}
		if r.kind == subsystem|unix.NFT_MSG_NEWGEN { // ends each transaction
			n.by = fmt.Sprintf("%s (pid %d)", text(find(r.body, unix.NFTA_GEN_PROC_NAME)), number(find(r.body, unix.NFTA_GEN_PROC_PID)))
			continue
		}
		for _, t := range tables {
			if r.family == t.family && text(find(r.body, unix.NFTA_TABLE_NAME)) == w.name && w.builds.Load() <= 0 { // attribute 1 of every message
				n.touched = true
			}
		}
	}
}

// Run watches the ruleset until ctx ends and makes good what others do to the
// tables. On a kernel that knows owner and persist they can do nothing, and there
// is nothing to hear; on an older one the addresses are exposed from their change
// to the repair. An error says that the gate cannot be had any more: the lease must
// end.
func (g *Gate) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-g.unowned:
	}
	if err := g.watch.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("watch gate %s: %w", g.name, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = g.watch.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for ctx.Err() == nil {
		n, err := g.watch.next()
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("watch gate %s: %w", g.name, err)
		}
		if err := g.answer(n); err != nil {
			return err
		}
	}
	return nil
}

// answer does what follows from a change.
func (g *Gate) answer(n news) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	if n.touched {
		return g.repair("changed by " + n.by)
	}
	if !n.lost || g.owned {
		return nil
	}
	whole, err := g.intact()
	if err != nil {
		return g.repair(err.Error())
	}
	if !whole {
		return g.repair("changed while events were lost")
	}
	return nil
}
