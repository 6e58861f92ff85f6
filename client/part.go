package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/flip-ha/flip/api"
)

// partBuffer is what a stream reads into at first; a line that is longer makes it
// grow up to api.MaxPart.
const partBuffer = 4 << 10

// PartStream is what a voter tells a member without a log. It is for one goroutine,
// but for Close.
type PartStream struct {
	to    Target
	body  io.ReadCloser
	lines *bufio.Scanner
}

// Part asks a voter for what concerns this member, from now on until ctx or the
// stream is closed. It returns when the answer begins.
func (p *Peers) Part(ctx context.Context, to Target, req api.PartRequest) (*PartStream, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode the request for a part: %w", err)
	}
	resp, err := p.do(ctx, to, api.PathPart, "application/json", body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return nil, fmt.Errorf("ask %s at %s: %w", to.Name, to.Addr, answer(resp, nil))
	}
	s := &PartStream{to: to, body: resp.Body, lines: bufio.NewScanner(resp.Body)}
	s.lines.Buffer(make([]byte, 0, partBuffer), api.MaxPart)
	return s, nil
}

// Next waits for the next frame. After an error there is none.
func (s *PartStream) Next() (api.PartFrame, error) {
	var frame api.PartFrame
	if !s.lines.Scan() {
		err := s.lines.Err()
		if err == nil {
			err = errors.New("it has ended the stream")
		}
		return frame, fmt.Errorf("read from %s at %s: %w", s.to.Name, s.to.Addr, err)
	}
	if err := json.Unmarshal(s.lines.Bytes(), &frame); err != nil {
		return frame, fmt.Errorf("read from %s at %s: decode a frame: %w", s.to.Name, s.to.Addr, err)
	}
	return frame, nil
}

// Close ends the stream; Next, if it waits, returns with an error.
func (s *PartStream) Close() error { return s.body.Close() }
