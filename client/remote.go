package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flip-ha/flip/api"
)

const (
	// nextAfter is how long an address may be silent before the next one is tried
	// beside it: a handshake takes 2 ms and the way there and back, so that a
	// machine that is off costs this and not what TCP needs to give it up.
	nextAfter = 300 * time.Millisecond
	// remoteDial bounds connecting to one address: two lost SYNs take 3 s. It is
	// below what a command waits for an answer, so that the reasons get out.
	remoteDial = 3 * time.Second
)

// A connection whose other machine is gone ends after 10 s: what is read from a
// stream has no other way to find out.
var remoteKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5}

// NewRemote makes a client of a cluster's servers by their addresses (host:port);
// it connects at the first request. It tries them in turn, keeps to the one that
// answers, and goes on to the next when that fails: with a question always, with
// a change only as long as the request cannot have arrived.
//
// config presents an operator (secure.Keys.Operator, or secure.OperatorFiles): one
// without a ServerName wants each server's certificate to name its address; otherKey tells which of its
// handshakes' errors means that the server has another key (secure.IsKeyMismatch).
func NewRemote(addrs []string, config *tls.Config, otherKey func(error) bool) *Client {
	r := &remote{addrs: addrs, config: config, otherKey: otherKey, why: make([]why, len(addrs))}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dial(ctx) }
	return &Client{remote: r, http: &http.Client{Transport: transport(dial)}}
}

// remote is the way to one of several servers.
type remote struct {
	addrs    []string
	config   *tls.Config
	otherKey func(error) bool

	mu  sync.Mutex
	at  int   // whom to try first
	why []why // of each address that was tried since one has answered
}

// kept is a connection that knows which address it goes to.
type kept struct {
	net.Conn
	to int
}

// dial connects to the first address that answers. One that is silent for a
// moment does not hold up the next.
func (r *remote) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		kept
		err error
	}
	done := make(chan outcome)
	order := r.order()
	begun, under := 0, 0
	begin := func() {
		to := order[begun]
		begun, under = begun+1, under+1
		r.set(to, why{silent, "no answer in time"}) // unless more is known by then
		go func() {
			conn, err := r.connect(ctx, r.addrs[to])
			done <- outcome{kept{conn, to}, err}
		}()
	}
	var won *kept
	timer := time.NewTimer(0)
	defer timer.Stop()
	for won == nil && (under > 0 || begun < len(order)) {
		select {
		case <-timer.C:
			if begun < len(order) {
				begin()
				timer.Reset(nextAfter)
			}
		case out := <-done:
			under--
			if out.err == nil {
				won = &out.kept
				break
			}
			if !errors.Is(ctx.Err(), context.Canceled) {
				r.set(out.to, r.explain(out.err))
			}
			timer.Reset(0)
		}
	}
	cancel()
	for ; under > 0; under-- {
		if out := <-done; out.err == nil {
			_ = out.Close()
		}
	}
	if won == nil {
		return nil, errNobody
	}
	r.keep(won.to)
	return won, nil
}

// errNobody says that no address answers; remote.why has the reasons.
var errNobody = errors.New("no address answers")

// connect makes a connection to one address, its handshake done.
func (r *remote) connect(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteDial)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: remoteKeepAlive}
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	config := r.config
	if host, _, err := net.SplitHostPort(addr); err == nil && config.ServerName == "" && !config.InsecureSkipVerify {
		config = config.Clone() // the certificate is to name the address
		config.ServerName = host
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	return conn, nil
}

// order is the addresses, the one kept to first.
func (r *remote) order() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]int, len(r.addrs))
	for i := range out {
		out[i] = (r.at + i) % len(r.addrs)
	}
	return out
}

func (r *remote) keep(to int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.why[to] = to, why{}
}

// answered forgets what was wrong before.
func (r *remote) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.why)
}

func (r *remote) set(to int, w why) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why[to] = w
}

// leave goes on to the next address, as what came of this one says.
func (r *remote) leave(to int, err error) {
	r.set(to, r.explain(err))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == to {
		r.at = (to + 1) % len(r.addrs)
	}
}

// wayThere is how far one request came.
type wayThere struct {
	to   atomic.Int64 // 1 + the index of the address it had a connection to
	sent atomic.Bool  // it may have arrived
}

func (w *wayThere) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			if k, ok := info.Conn.(*kept); ok {
				w.to.Store(int64(k.to) + 1)
			}
		},
		// Before this no server can act on it: its header is not complete.
		WroteHeaders: func() { w.sent.Store(true) },
	})
}

// failed says what a failed request means; nil: it is to be tried again, and
// goes to the next address.
func (r *remote) failed(ctx context.Context, way *wayThere, err error, changes bool, tries int) error {
	to := int(way.to.Load()) - 1
	if to >= 0 && ctx.Err() != nil {
		r.leave(to, &handshakeError{ctx.Err()}) // it was there, and did not answer
	} else if to >= 0 {
		r.leave(to, err)
	}
	switch {
	case cancelled(ctx):
		return ctx.Err()
	case changes && way.sent.Load() && !refusedHere(err):
		return &api.Error{
			Code: api.CodeUncertain, Message: "it may or may not have been done: the connection to " + r.addrs[to] + " broke: " + cause(err).Error(),
			Hint: "see whether it was: `flip status`, `flip assign`; to do it again does no harm",
		}
	case ctx.Err() != nil || errors.Is(err, errNobody) || tries > len(r.addrs):
		return r.unreached(ctx, err)
	default:
		return nil
	}
}

// cancelled reports whether nobody waits for the answer any more.
func cancelled(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded)
}

// unreached names every address that was tried and what is wrong with it.
func (r *remote) unreached(ctx context.Context, err error) error {
	if cancelled(ctx) {
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var each []string
	worst := silent
	for i, addr := range r.addrs {
		w := r.why[i]
		if w.words == "" {
			continue
		}
		each = append(each, addr+": "+w.words)
		worst = max(worst, w.kind)
	}
	if len(each) == 0 {
		each = []string{cause(err).Error()}
	}
	return &api.Error{
		Code: api.CodeNoDaemon, Message: "no daemon answers: " + strings.Join(each, "; "), Hint: hints[worst],
	}
}
