package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// State is GET /v1/state: all that is agreed, and what it was read from. Of a million
// items it takes seconds.
func (c *Client) State(ctx context.Context, consistent bool) (*fsm.State, api.StateAt, error) {
	path := api.PathState + query("", consistent)
	for tries := 1; ; tries++ {
		way := &wayThere{}
		req, err := http.NewRequestWithContext(way.trace(ctx), http.MethodGet, "http://flip"+path, nil)
		if err != nil {
			return nil, api.StateAt{}, fmt.Errorf("make request to %s: %w", path, err)
		}
		state, at, err := c.readState(req)
		var known *api.Error
		switch {
		case err == nil && c.remote != nil:
			c.remote.answered()
			return state, at, nil
		case err == nil:
			return state, at, nil
		case errors.As(err, &known):
			return nil, at, err
		}
		if err := c.failed(ctx, way, err, false, tries); err != nil {
			return nil, at, err
		}
	}
}

// readState asks one time.
func (c *Client) readState(req *http.Request) (*fsm.State, api.StateAt, error) {
	var at api.StateAt
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, at, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, at, answer(resp, nil)
	}
	at = stateAt(resp.Header)
	from := &failing{from: resp.Body}
	state, err := fsm.Read(from)
	switch {
	case err == nil:
		return state, at, nil
	case from.err != nil: // the connection's failure, not that of what came
		return nil, at, &cutAnswer{fmt.Errorf("read answer: %w", from.err)}
	case errors.Is(err, fsm.ErrDamaged):
		return nil, at, &cutAnswer{err}
	default:
		return nil, at, &api.Error{
			Code: api.CodeInternal, Message: "the daemon's state cannot be read: " + err.Error(),
			Hint: "is it of a newer version than this program? `flip status` shows the daemon's, `flip version` this one",
		}
	}
}

func stateAt(h http.Header) api.StateAt {
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(h.Get(name), 10, 64)
		return n
	}
	return api.StateAt{Index: fsm.Index(number(api.HeaderIndex)), AgeMS: number(api.HeaderAge), TimeMS: number(api.HeaderTime)}
}

// failing remembers why reading has failed.
type failing struct {
	from io.Reader
	err  error
}

// Read implements io.Reader.
func (f *failing) Read(b []byte) (int, error) {
	n, err := f.from.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// Route is GET /v1/route: where a key of a system is. Who looks up often has a Router.
func (c *Client) Route(ctx context.Context, system fsm.SystemID, key string, consistent bool) (api.Route, error) {
	var out api.Route
	_, err := c.Get(ctx, api.PathRoute+routeQuery(system, &key, consistent), &out)
	return out, err
}

// RouteTable is GET /v1/route/table: what a Router needs besides the rows of a system.
func (c *Client) RouteTable(ctx context.Context, system fsm.SystemID) (api.RouteTable, error) {
	var out api.RouteTable
	_, err := c.Get(ctx, api.PathRouteTable+routeQuery(system, nil, false), &out)
	return out, err
}
