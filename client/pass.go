package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/flip-ha/flip/api"
)

const (
	// passAnswer is how long the daemon at one address may take to begin its answer
	// before the next is asked: it answers questions from memory, but to be certain
	// it asks the leader, and a change has to be agreed on.
	passAnswer  = 3 * time.Second
	passCertain = 12 * time.Second
)

// Pass has a request of somebody else's answered and gives the answer as it comes,
// its failures too: by says who asks. The caller closes the answer's body, which may
// be a stream without an end. The error, when there is no answer, is an *api.Error
// unless ctx was cancelled.
func (c *Client) Pass(ctx context.Context, by string, req *http.Request, body []byte) (*http.Response, error) {
	limit := passAnswer
	if req.Method != http.MethodGet || req.URL.Query().Has(api.Consistent) {
		limit = passCertain
	}
	for tries := 1; ; tries++ {
		way := &wayThere{}
		resp, err := c.passOnce(way.trace(ctx), limit, by, req, body)
		if err == nil {
			if c.remote != nil {
				c.remote.answered()
			}
			return resp, nil
		}
		if err := c.failed(ctx, way, err, req.Method != http.MethodGet, tries); err != nil {
			return nil, err
		}
	}
}

// passOnce asks one time, and waits for the beginning of the answer until limit.
func (c *Client) passOnce(ctx context.Context, limit time.Duration, by string, req *http.Request, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	out, err := http.NewRequestWithContext(ctx, req.Method, "http://flip"+req.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("make request to %s: %w", req.URL.Path, err)
	}
	if kind := req.Header.Get("Content-Type"); kind != "" {
		out.Header.Set("Content-Type", kind)
	}
	out.Header.Set(api.HandedOnBy, by)
	resp, err := c.http.Do(out)
	if late.Stop() && err == nil {
		resp.Body = &passed{resp.Body, func() { cancel(nil) }}
		return resp, nil
	}
	if err == nil { // it came just as the time was over
		_ = resp.Body.Close()
		err = context.DeadlineExceeded
	}
	if cause := context.Cause(ctx); cause == context.DeadlineExceeded { //nolint:errorlint // it is that very value
		err = cause
	}
	cancel(nil)
	return nil, err
}

// passed ends its request when it is closed.
type passed struct {
	io.ReadCloser
	end func()
}

func (p *passed) Close() error {
	defer p.end()
	return p.ReadCloser.Close()
}
