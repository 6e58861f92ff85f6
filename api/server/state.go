package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/flip-ha/flip/api"
)

const (
	// maxStates are told at one time: each takes a processor for 0.6 s at a million
	// items, and keeps what it tells from being forgotten.
	maxStates = 2
	// stateBuffer is how much of one is written at once.
	stateBuffer = 64 << 10
)

// state streams all that is agreed.
func (l local) state(r *router) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if err := l.verify(req); err != nil {
			r.fail(w, req, err)
			return
		}
		select {
		case l.states <- struct{}{}:
			defer func() { <-l.states }()
		default:
			r.fail(w, req, &api.Error{
				Code: api.CodeBusy, Message: fmt.Sprintf("%d read all of the state already, more are not let in", maxStates),
				Hint: "try again in a moment, or ask another node: each tells the same",
			})
			return
		}
		if err := l.writeState(w, req); err != nil {
			r.log.Debug().Err(err).Str("path", req.URL.Path).Msg("a state was not told to its end")
			// Without its end: what has broken off must not look complete.
			panic(http.ErrAbortHandler)
		}
	}
}

func (l local) writeState(w http.ResponseWriter, req *http.Request) error {
	stamp, state := l.stamp()
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "no-store")
	h.Set(api.HeaderIndex, strconv.FormatUint(uint64(stamp.Index), 10))
	h.Set(api.HeaderAge, strconv.FormatInt(stamp.AgeMS, 10))
	h.Set(api.HeaderTime, strconv.FormatInt(now(), 10))
	w.WriteHeader(http.StatusOK)
	if req.Method == http.MethodHead {
		return nil
	}
	out := &patient{w: w, rc: http.NewResponseController(w), ctx: req.Context()}
	// A write that hangs when all is to end gives up.
	defer context.AfterFunc(req.Context(), func() { _ = out.rc.SetWriteDeadline(time.Now().Add(watchEnds)) })()
	buf := bufio.NewWriterSize(out, stateBuffer)
	if err := state.Write(buf); err != nil {
		return err
	}
	return buf.Flush()
}

// patient writes as long as the reader takes something in time.
type patient struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	ctx context.Context
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	if err := p.rc.SetWriteDeadline(time.Now().Add(watchPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	// Looked at only now: a stream that ends from here on has its deadline cut short.
	if err := p.ctx.Err(); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}
