// Package client talks to flip daemons: Client to the one of this machine over
// its unix socket or, from anywhere, to any of a cluster's over their TLS ports;
// Peers, for daemons only, to other members.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// Below the server's, so that it is this side that closes an idle
	// connection: the other way round a request could meet the close.
	idleTimeout = time.Minute
	// A status of a million items is counts; an assignment of them is 300 MB.
	maxAnswer = 1 << 30
)

// Client asks the daemon behind one unix socket, or one of several over TLS. It
// is safe for concurrent use; Close it when done.
type Client struct {
	socket string
	remote *remote // nil: it is the socket's
	http   *http.Client
}

// New makes a client of a socket; it connects at the first request.
func New(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: transport(dial)}}
}

func transport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{DialContext: dial, IdleConnTimeout: idleTimeout, DisableCompression: true, MaxIdleConnsPerHost: 2}
}

// Close drops the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Socket is the path of the unix socket; "" for a client of NewRemote.
func (c *Client) Socket() string { return c.socket }

// Get reads path into `into` and returns the answer's stamp.
func (c *Client) Get(ctx context.Context, path string, into any) (api.Stamp, error) {
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return api.Stamp{}, err
	}
	var stamp api.Stamp
	if err := json.Unmarshal(raw, &stamp); err != nil {
		return api.Stamp{}, fmt.Errorf("decode stamp of %s: %w", path, err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return api.Stamp{}, fmt.Errorf("decode answer to %s: %w", path, err)
	}
	return stamp, nil
}

// Do sends a request with body as JSON (nil: none) and reads the answer into
// `into` (nil: it is dropped). What the daemon answers as an error, and a
// daemon that does not answer, come back as an *api.Error.
func (c *Client) Do(ctx context.Context, method, path string, body, into any) error {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode request to %s: %w", path, err)
		}
	}
	got, err := c.send(ctx, method, path, b)
	if err != nil {
		return err
	}
	return got.decode(into)
}

// send has a request answered, and read to its end. Its error is an *api.Error
// unless ctx was cancelled or the request is none.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*answered, error) {
	for tries := 1; ; tries++ {
		var reader io.Reader
		if body != nil {
			reader = bytes.NewReader(body)
		}
		way := &wayThere{}
		req, err := http.NewRequestWithContext(way.trace(ctx), method, "http://flip"+path, reader)
		if err != nil {
			return nil, fmt.Errorf("make request to %s: %w", path, err)
		}
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		got, err := c.once(req)
		if err == nil {
			if c.remote != nil {
				c.remote.answered()
			}
			return got, nil
		}
		if err := c.failed(ctx, way, err, method != http.MethodGet, tries); err != nil {
			return nil, err
		}
	}
}

// once asks one time.
func (c *Client) once(req *http.Request) (*answered, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return readAnswer(resp)
}

// failed says what a failed request means; nil: it is to be tried again.
func (c *Client) failed(ctx context.Context, way *wayThere, err error, changes bool, tries int) error {
	var cut *cutAnswer
	switch {
	case c.remote != nil:
		return c.remote.failed(ctx, way, err, changes, tries)
	case errors.As(err, &cut):
		return err
	default:
		return c.unreached(ctx, err)
	}
}

// Status is GET /v1/status.
func (c *Client) Status(ctx context.Context, consistent bool) (api.Status, error) {
	var st api.Status
	_, err := c.Get(ctx, api.PathStatus+query("", consistent), &st)
	return st, err
}

// Assign is GET /v1/assign, of one system or, with "", of all.
func (c *Client) Assign(ctx context.Context, system fsm.SystemID, consistent bool) (api.Assign, error) {
	var as api.Assign
	_, err := c.Get(ctx, api.PathAssign+query(string(system), consistent), &as)
	return as, err
}

// Version is GET /v1/version: of the daemon, not of this binary.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	err := c.Do(ctx, http.MethodGet, api.PathVersion, nil, &v)
	return v, err
}

// Cleanup has failures forgotten and returns those that were remembered before.
func (c *Client) Cleanup(ctx context.Context, what api.Cleanup) (api.Cleaned, error) {
	var out api.Cleaned
	err := c.Do(ctx, http.MethodPost, api.PathCleanup, what, &out)
	return out, err
}

// Maintain begins or ends maintenance and returns what is under it by then.
func (c *Client) Maintain(ctx context.Context, what api.Maintain) (api.Maintained, error) {
	var out api.Maintained
	err := c.Do(ctx, http.MethodPost, api.PathMaintenance, what, &out)
	return out, err
}

// Release makes the entries named void. They must be api.Blocking of the item's
// rows; when they are not any more, the error has CodeChanged.
func (c *Client) Release(ctx context.Context, what api.Release) (api.Released, error) {
	var out api.Released
	err := c.Do(ctx, http.MethodPost, api.PathRelease, what, &out)
	return out, err
}

func query(system string, consistent bool) string {
	v := url.Values{}
	if system != "" {
		v.Set("system", system)
	}
	if consistent {
		v.Set(api.Consistent, "1")
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

func routeQuery(system fsm.SystemID, key *string, consistent bool) string {
	v := url.Values{"system": {string(system)}}
	if key != nil {
		v.Set("key", *key)
	}
	if consistent {
		v.Set(api.Consistent, "1")
	}
	return "?" + v.Encode()
}

// answer takes a response apart. It reads it to its end, so that its connection
// is used again; the caller closes it.
func answer(resp *http.Response, into any) error {
	got, err := readAnswer(resp)
	if err != nil {
		return err
	}
	return got.decode(into)
}

// answered is an answer that was read to its end.
type answered struct {
	code   int
	status string
	body   []byte
}

// cutAnswer is an answer that broke off.
type cutAnswer struct{ error }

func (e *cutAnswer) Unwrap() error { return e.error }

func readAnswer(resp *http.Response) (*answered, error) {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &cutAnswer{fmt.Errorf("read answer: %w", err)}
	}
	return &answered{resp.StatusCode, resp.Status, b}, nil
}

func (a *answered) decode(into any) error {
	if a.code >= http.StatusBadRequest {
		return a.fault()
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

func (a *answered) fault() error {
	var e api.Error
	if err := json.Unmarshal(a.body, &e); err != nil || e.Code == "" {
		return &api.Error{
			Code:    api.CodeInternal,
			Message: "the answer is not flip's: " + a.status,
			Hint:    "does another program answer there?",
		}
	}
	return &e
}

// unreached explains why no answer came.
func (c *Client) unreached(ctx context.Context, err error) error {
	if c.remote != nil {
		return c.remote.unreached(ctx, err)
	}
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return &api.Error{
				Code: api.CodeNoDaemon, Message: "the daemon behind " + c.socket + " does not answer in time",
				Hint: "is it stopped or starved? its log and `ps` tell",
			}
		}
		return ctx.Err()
	}
	hint := "start it: flip run; or name its socket with --socket or its directory with --dir"
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "the socket belongs to another user: use sudo, or join its group"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "it has stopped and left its socket behind: start it again: flip run"
	case !errors.Is(err, fs.ErrNotExist):
		hint = "the connection failed: " + cause(err).Error()
	}
	return &api.Error{Code: api.CodeNoDaemon, Message: "no daemon answers on " + c.socket, Hint: hint}
}

// cause takes net/http's own wrapping, which names a made-up URL, off.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
