package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// dialTimeout bounds connecting and the handshake, even when the request that
// wanted the connection has given up: three lost SYNs take 3 s.
const dialTimeout = 5 * time.Second

// Target is another member as it is to be reached. Instance "" takes any
// instance of that name.
type Target struct {
	Addr     string // host:port
	Name     fsm.MemberID
	Instance string
}

// Peers asks other members over their TLS port. It is safe for concurrent use;
// Close it when done. A connection is used again only for the same Target: an
// instance that has been replaced is never answered by its successor.
type Peers struct {
	http   *http.Client
	newest atomic.Uint64
}

// NewPeers takes a function that gives the tls.Config to reach a target with:
// it presents this member's certificate, and refuses another name or instance
// than the target's.
func NewPeers(config func(Target) *tls.Config) *Peers {
	return NewPeersOver(func(ctx context.Context, to Target) (net.Conn, error) {
		// TLS is made here, under the scheme http: net/http takes no ALPN name but
		// its own.
		d := tls.Dialer{Config: config(to), NetDialer: &net.Dialer{Timeout: dialTimeout}}
		return d.DialContext(ctx, "tcp", to.Addr)
	})
}

// NewPeersOver takes a function that makes the connections: authenticated at both
// ends, to the target and nobody else.
func NewPeersOver(connect func(context.Context, Target) (net.Conn, error)) *Peers {
	dial := func(ctx context.Context, _, host string) (net.Conn, error) {
		to, err := decodeTarget(host)
		if err != nil {
			return nil, err
		}
		return connect(ctx, to)
	}
	return &Peers{http: &http.Client{Transport: transport(dial)}}
}

// ErrNotSent means that a request surely did not reach anybody: no connection, or
// none to the target.
var ErrNotSent = errors.New("nothing was sent")

// notSent says so of an error without changing its words.
type notSent struct{ error }

func (e *notSent) Unwrap() error        { return e.error }
func (e *notSent) Is(target error) bool { return target == ErrNotSent }

// DialPeers is NewPeers for who makes the connections himself: their handshake is done,
// and the other side is the target.
func DialPeers(dial func(context.Context, Target) (net.Conn, error)) *Peers {
	return &Peers{http: &http.Client{Transport: transport(func(ctx context.Context, _, host string) (net.Conn, error) {
		to, err := decodeTarget(host)
		if err != nil {
			return nil, err
		}
		return dial(ctx, to)
	})}}
}

// CloseIdle drops the connections that carry nothing now.
func (p *Peers) CloseIdle() { p.http.CloseIdleConnections() }

// Close drops the idle connections.
func (p *Peers) Close() { p.http.CloseIdleConnections() }

// Hello exchanges who we are with another member.
func (p *Peers) Hello(ctx context.Context, to Target, mine api.Hello) (api.Hello, error) {
	body, err := json.Marshal(mine)
	if err != nil {
		return api.Hello{}, fmt.Errorf("encode hello: %w", err)
	}
	var theirs api.Hello
	err = p.post(ctx, to, api.PathHello, "application/json", body, &theirs)
	return theirs, err
}

// Propose has the leader commit an encoded command and returns what Apply
// answered. After an error that is neither an *api.Error nor ErrNotSent it is
// unknown whether the command was committed.
func (p *Peers) Propose(ctx context.Context, to Target, cmd []byte) (fsm.Result, error) {
	var res api.Result
	if err := p.post(ctx, to, api.PathPropose, "application/octet-stream", cmd, &res); err != nil {
		return fsm.Result{}, err
	}
	for seen := p.newest.Load(); seen < uint64(res.Index) && !p.newest.CompareAndSwap(seen, uint64(res.Index)); {
		seen = p.newest.Load()
	}
	return res.FSM(), nil
}

// Newest is the highest index at which a leader has answered a proposal from
// here. Whoever has read his log up to it has read what those proposals did.
func (p *Peers) Newest() fsm.Index { return fsm.Index(p.newest.Load()) }

// Neighbours tells another member what this one knows of the network.
func (p *Peers) Neighbours(ctx context.Context, to Target, mine api.Neighbours) error {
	body, err := json.Marshal(mine)
	if err != nil {
		return fmt.Errorf("encode neighbours: %w", err)
	}
	var nothing struct{}
	return p.post(ctx, to, api.PathNeighbours, "application/json", body, &nothing)
}

func (p *Peers) post(ctx context.Context, to Target, path, kind string, body []byte, into any) error {
	resp, err := p.do(ctx, to, path, kind, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := answer(resp, into); err != nil {
		return fmt.Errorf("ask %s at %s: %w", to.Name, to.Addr, err)
	}
	return nil
}

// do sends a POST and returns its answer once that begins.
func (p *Peers) do(ctx context.Context, to Target, path, kind string, body []byte) (*http.Response, error) {
	var sent atomic.Bool
	// Before this nobody can act on it: its header is not complete.
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, err := http.NewRequestWithContext(traced, http.MethodPost, "http://"+encodeTarget(to)+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request to %s at %s: %w", to.Name, to.Addr, err)
	}
	req.Host = to.Addr
	req.Header.Set("Content-Type", kind)
	resp, err := p.http.Do(req)
	if err == nil {
		return resp, nil
	}
	err = fmt.Errorf("ask %s at %s: %w", to.Name, to.Addr, cause(err))
	if !sent.Load() {
		err = &notSent{err}
	}
	return nil, err
}

// encodeTarget makes a host of a target, so that net/http's pool, which goes by
// host, keeps targets apart.
func encodeTarget(t Target) string {
	return hex.EncodeToString([]byte(t.Addr+"\x00"+string(t.Name)+"\x00"+t.Instance)) + ":1"
}

func decodeTarget(hostport string) (Target, error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return Target{}, fmt.Errorf("decode target: %w", err)
	}
	b, err := hex.DecodeString(host)
	if err != nil {
		return Target{}, fmt.Errorf("decode target: %w", err)
	}
	parts := strings.Split(string(b), "\x00")
	if len(parts) != 3 {
		return Target{}, fmt.Errorf("decode target: %d parts", len(parts))
	}
	return Target{Addr: parts[0], Name: fsm.MemberID(parts[1]), Instance: parts[2]}, nil
}
