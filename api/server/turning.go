package server

import (
	"context"
	"net/http"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
)

// Turning is a Server whose answers are another Server's, which may change while it
// runs: a node may be an agent now and have a vote later.
type Turning struct {
	*Server
	now atomic.Pointer[turn]
}

// turn is whose answers count until ctx ends.
type turn struct {
	ctx     context.Context
	handler http.Handler
}

// NewTurning makes one that answers nothing before its first Turn.
func NewTurning(log zerolog.Logger) *Turning {
	t := &Turning{}
	r := newRouter(log)
	t.Server = newServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		now := t.now.Load()
		if now == nil {
			r.fail(w, req, &api.Error{Code: api.CodeUnavailable, Message: "this node is starting", Hint: "try again in a moment"})
			return
		}
		ctx, cancel := context.WithCancel(req.Context())
		defer cancel()
		defer context.AfterFunc(now.ctx, cancel)() //nolint:contextcheck // a request ends with either
		now.handler.ServeHTTP(w, req.WithContext(ctx))
	}), log)
	return t
}

// Turn has requests answered as s would from now on. What s then still answers, such
// as a stream without an end, ends with ctx.
func (t *Turning) Turn(ctx context.Context, s *Server) {
	t.now.Store(&turn{ctx, s.http.Handler})
}
