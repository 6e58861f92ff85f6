package client_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/api/server"
)

// daemon is one that tells programs what a test says.
type daemon struct {
	t      *testing.T
	socket string
	end    func()

	mu      sync.Mutex
	leaseMS int64
	refuse  error
	claims  []api.ProgramClaim
	acks    []api.ProgramAck
	news    chan struct{} // closed and replaced with each
	tell    chan api.ProgramEvent
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, socket: filepath.Join(t.TempDir(), "n1.sock"), leaseMS: 60_000, news: make(chan struct{}), tell: make(chan api.ProgramEvent, 100)}
	d.start()
	t.Cleanup(func() { d.end() })
	return d
}

// start runs it, again after end.
func (d *daemon) start() {
	d.t.Helper()
	l, err := server.ListenUnix(d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	s := server.NewLocal(server.LocalConfig{Log: zerolog.Nop(), Programs: d})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	d.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Error(err)
		}
	})
}

func (d *daemon) note() {
	close(d.news)
	d.news = make(chan struct{})
}

// Claim implements server.Programs.
func (d *daemon) Claim(_ net.Conn, c api.ProgramClaim) (server.ProgramStream, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != nil {
		return nil, d.refuse
	}
	d.claims = append(d.claims, c)
	d.note()
	return &daemonStream{d: d, first: true}, nil
}

// Ack implements server.Programs.
func (d *daemon) Ack(_ net.Conn, a api.ProgramAck) (api.ProgramAcked, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(a.Seqs)+len(a.Gone) > 0 || a.Leave {
		d.acks = append(d.acks, a)
		d.note()
	}
	return api.ProgramAcked{LeaseMS: d.leaseMS, AgainMS: 10}, nil
}

type daemonStream struct {
	d     *daemon
	first bool
}

func (s *daemonStream) Close() {}

func (s *daemonStream) Next(ctx context.Context) ([]api.ProgramEvent, error) {
	if s.first {
		s.first = false
		return []api.ProgramEvent{{Kind: api.ProgramSession, Member: "n1"}}, nil
	}
	select {
	case e := <-s.d.tell:
		return []api.ProgramEvent{e}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// become waits until something is so of what the daemon has heard.
func (d *daemon) become(what string, so func() bool) {
	d.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		d.mu.Lock()
		ok, news := so(), d.news
		d.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-news:
		case <-deadline:
			d.t.Fatalf("not: %s; claims %+v, acknowledgements %+v", what, d.claims, d.acks)
		}
	}
}

// acked waits until an event is acknowledged.
func (d *daemon) acked(seq uint64) {
	d.t.Helper()
	d.become("acknowledged", func() bool {
		for _, a := range d.acks {
			for _, s := range a.Seqs {
				if s == seq {
					return true
				}
			}
		}
		return false
	})
}
