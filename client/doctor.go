package client

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/flip-ha/flip/api"
)

// Doctor is GET /v1/doctor.
func (c *Client) Doctor(ctx context.Context) (api.Doctor, error) {
	var d api.Doctor
	err := c.Do(ctx, http.MethodGet, api.PathDoctor, nil, &d)
	return d, err
}

// clockAsks is how often a member is asked for the time: the first question also
// makes the connection, and the quickest of the others is the most exact.
const clockAsks = 4

// Clock is by how much a member's wall clock is ahead of this machine's, give or
// take within: nobody knows when on the way there and back it was read.
func (p *Peers) Clock(ctx context.Context, to Target) (ahead, within time.Duration, err error) {
	for i := range clockAsks {
		var theirs api.PeerTime
		sent := time.Now()
		if err := p.post(ctx, to, api.PathTime, "application/json", []byte("{}"), &theirs); err != nil {
			return 0, 0, fmt.Errorf("ask for the time: %w", err)
		}
		half := time.Since(sent) / 2
		if i == 0 || half < within {
			// The difference of wall clocks alone: a monotonic one has no date.
			ahead, within = time.UnixMicro(theirs.UnixUS).Sub(sent.Round(0).Add(half)), half
		}
	}
	return ahead, within, nil
}
