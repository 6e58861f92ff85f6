package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/api"
)

// handler answers with a value, written as JSON, or an error.
type handler func(*http.Request) (any, error)

// router is a mux whose every answer is JSON, the errors of the mux included.
type router struct {
	mux *mux
	log zerolog.Logger
}

// mux knows what it was given, so that a test can compare it with the document.
type mux struct {
	*http.ServeMux
	methods map[string]string // by path
}

// Handle takes the GETs of a path.
func (m *mux) Handle(path string, h http.Handler) {
	m.methods[path] = http.MethodGet
	m.ServeMux.Handle(path, h)
}

// HandleFunc takes the GETs of a path.
func (m *mux) HandleFunc(path string, h func(http.ResponseWriter, *http.Request)) {
	m.Handle(path, http.HandlerFunc(h))
}

func newRouter(log zerolog.Logger) *router {
	r := &router{mux: &mux{http.NewServeMux(), map[string]string{}}, log: log}
	r.mux.ServeMux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		r.fail(w, req, &api.Error{
			Code:    api.CodeNotFound,
			Message: "no such path: " + req.URL.Path,
			Hint:    "an older daemon, perhaps: compare `flip version` with the version in `flip status`",
		})
	})
	return r
}

// handle takes one method of a path; any other is answered with
// CodeMethod. max bounds the body.
func (r *router) handle(method, path string, maxBody int64, h handler) {
	r.take(method, path, maxBody, func(w http.ResponseWriter, req *http.Request) {
		v, err := h(req)
		r.answer(w, req, v, err)
	})
}

// take is handle for who writes the answer himself.
func (r *router) take(method, path string, maxBody int64, h http.HandlerFunc) {
	r.mux.methods[path] = method
	r.mux.ServeMux.HandleFunc(path, func(w http.ResponseWriter, req *http.Request) {
		if req.Method != method && (method != http.MethodGet || req.Method != http.MethodHead) {
			w.Header().Set("Allow", method)
			r.fail(w, req, &api.Error{Code: api.CodeMethod, Message: path + " takes " + method + ", not " + req.Method})
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, maxBody)
		h(w, req)
	})
}

// statusFor lets an answer carry a status of its own.
func statusFor(v any) int {
	if h, ok := v.(api.Health); ok && !h.Ready {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

func (r *router) write(w http.ResponseWriter, req *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		// The client has gone, or v is no JSON; the header is out already.
		r.log.Debug().Err(err).Str("path", req.URL.Path).Msg("answer not written")
	}
}

// answer writes a value, or why there is none.
func (r *router) answer(w http.ResponseWriter, req *http.Request, v any, err error) {
	if err != nil {
		r.fail(w, req, err)
		return
	}
	r.write(w, req, statusFor(v), v)
}

func (r *router) fail(w http.ResponseWriter, req *http.Request, err error) {
	e := asError(err)
	if e.Code == api.CodeInternal {
		r.log.Error().Err(err).Str("path", req.URL.Path).Msg("request failed")
	}
	r.write(w, req, e.Status(), e)
}

// asError finds what the client is to be told.
func asError(err error) *api.Error {
	var known *api.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooLarge):
		return &api.Error{Code: api.CodeTooLarge, Message: "the body is longer than this path takes"}
	case errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Code: api.CodeTimeout, Message: err.Error(), Hint: "try again; `flip status` shows whether there is a leader"}
	case errors.Is(err, context.Canceled):
		return &api.Error{Code: api.CodeUnavailable, Message: "the daemon is stopping", Hint: "ask another node"}
	default:
		return &api.Error{Code: api.CodeInternal, Message: err.Error(), Hint: "the daemon's log has more"}
	}
}

// decode reads one JSON value and nothing behind it. What it does not know it
// leaves out: another member may be newer.
func decode(r io.Reader, into any) error { return decodeAll(json.NewDecoder(r), into) }

// decodeStrict refuses what it does not know: half of what an operator asked for
// may be the wrong half.
func decodeStrict(r io.Reader, into any) error {
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	return decodeAll(dec, into)
}

func decodeAll(dec *json.Decoder, into any) error {
	if err := dec.Decode(into); err != nil {
		return badBody(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badBody(errors.New("more than one JSON value"))
	}
	return nil
}

func badBody(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return err
	}
	return &api.Error{Code: api.CodeBadRequest, Message: "decode body: " + err.Error()}
}

// stdLog takes net/http's own lines, such as a handshake that failed.
func stdLog(l zerolog.Logger) *log.Logger { return log.New(logWriter{l}, "", 0) }

type logWriter struct{ log zerolog.Logger }

func (w logWriter) Write(p []byte) (int, error) {
	w.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
