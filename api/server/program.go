package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/flip-ha/flip/api"
)

// programPatience is how long a program may take to read what it is told: then the
// stream ends, and what it has not read is told again over the next one.
const programPatience = 10 * time.Second

// maxSession bounds the name that a program gives its claim.
const maxSession = 128

// Programs are the programs on this machine that have claimed systems. conn is the
// unix socket over which one of them asks.
type Programs interface {
	Claim(conn net.Conn, claim api.ProgramClaim) (ProgramStream, error)
	Ack(conn net.Conn, ack api.ProgramAck) (api.ProgramAcked, error)
}

// ProgramStream is what a program is told. Next waits, for a second or so at most; its
// error ends the stream.
type ProgramStream interface {
	Next(context.Context) ([]api.ProgramEvent, error)
	Close()
}

var errNoPrograms = &api.Error{
	Code: api.CodeForbidden, Message: "a program claims a system on the unix socket of its own machine's daemon",
}

// program answers a claim with the stream of what the program is told.
func (r *router) program(p Programs) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		s, err := claimed(p, req)
		if err != nil {
			r.fail(w, req, err)
			return
		}
		defer s.Close()
		if err := tellProgram(w, req, s); err != nil {
			r.log.Debug().Err(err).Str("path", req.URL.Path).Msg("a program's stream has ended")
		}
	}
}

func claimed(p Programs, req *http.Request) (ProgramStream, error) {
	if p == nil {
		return nil, errNoPrograms
	}
	var in api.ProgramClaim
	if err := decode(req.Body, &in); err != nil {
		return nil, err
	}
	switch {
	case in.System == "":
		return nil, badBody(errors.New("a claim names a system"))
	case in.Session == "" || len(in.Session) > maxSession:
		return nil, badBody(errors.New("a claim has a name of its own, `session`, that no other has: 32 random hexadecimal digits, say"))
	}
	return p.Claim(bareConn(req), in)
}

func tellProgram(w http.ResponseWriter, req *http.Request, s ProgramStream) error {
	rc := http.NewResponseController(w)
	ctx := req.Context()
	// The request is read; the stream may be as long as it likes.
	if err := rc.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = rc.SetWriteDeadline(time.Now().Add(watchEnds)) })()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for {
		events, err := s.Next(ctx)
		if err != nil {
			return err
		}
		for i := range events {
			if err := enc.Encode(&events[i]); err != nil {
				return err
			}
		}
		if err := rc.SetWriteDeadline(time.Now().Add(programPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := w.Write(buf.Bytes()); err != nil {
			return err
		}
		if err := rc.Flush(); err != nil {
			return err
		}
		buf.Reset()
	}
}

// programAck takes in what a program has done.
func (l local) programAck(req *http.Request) (any, error) {
	if l.Programs == nil {
		return nil, errNoPrograms
	}
	var in api.ProgramAck
	if err := decode(req.Body, &in); err != nil {
		return nil, err
	}
	return l.Programs.Ack(bareConn(req), in)
}

// bareConn is the socket under what a room keeps of it.
func bareConn(req *http.Request) net.Conn {
	conn := connOf(req)
	if in, ok := conn.(interface{ Bare() net.Conn }); ok {
		return in.Bare()
	}
	return conn
}
