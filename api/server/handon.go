package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/flip-ha/flip/api"
)

// Elsewhere has requests answered by a server with all of the log.
type Elsewhere interface {
	// Pass answers as that server does, its failures too; the caller closes the
	// body. Its error is an *api.Error with CodeNoLeader when none could be reached.
	Pass(ctx context.Context, req *http.Request, body []byte) (*http.Response, error)
}

// ownPaths are about the node that is asked, whoever that is.
var ownPaths = []string{api.PathHealth, api.PathVersion, api.PathDoctor, api.PathOpenAPI, PathMetrics, api.PathProgram, api.PathProgramAck}

const (
	// statusElsewhere is how long a status waits for the part of it that is not about
	// this node: below what a command waits for the whole.
	statusElsewhere = 4 * time.Second
	// passBuffer is how much of an answer is handed on at once.
	passBuffer = 32 << 10
)

// handingOn answers what is about this node, and has all else answered elsewhere:
// also what a server of a newer version has and this one does not know.
func (l local) handingOn(r *router) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case slices.Contains(ownPaths, req.URL.Path):
			r.mux.ServeHTTP(w, req)
		case req.Header.Get(api.HandedOnBy) != "":
			r.fail(w, req, &api.Error{
				Code:    api.CodeUnavailable,
				Message: fmt.Sprintf("%s asks this node, which is an agent itself and knows only its own part", req.Header.Get(api.HandedOnBy)),
				Hint:    "ask again in a moment: one of them has just changed its role",
			})
		case req.URL.Path == api.PathStatus && req.Method == http.MethodGet:
			st, err := l.wholeStatus(req)
			r.answer(w, req, st, err)
		case req.URL.Path == api.PathKey && req.Method == http.MethodGet && l.Keys != nil:
			k, err := l.wholeKey(req)
			r.answer(w, req, k, err)
		default:
			l.pass(r, w, req)
		}
	})
}

// wholeStatus is a server's status with this node's own part in it. When no server
// can be reached it is what this node knows, unless that must be certain.
func (l local) wholeStatus(req *http.Request) (api.Status, error) {
	ctx, cancel := context.WithTimeout(req.Context(), statusElsewhere)
	if req.URL.Query().Has(api.Consistent) {
		cancel()
		ctx, cancel = context.WithTimeout(req.Context(), writeTimeout)
	}
	defer cancel()
	mine := l.Status.Status()
	var theirs api.Status
	err := l.askThere(ctx, req, &theirs)
	switch {
	case err == nil:
		return Joined(theirs, mine), nil
	case req.URL.Query().Has(api.Consistent):
		return api.Status{}, err
	}
	var known *api.Error
	words := err.Error()
	if errors.As(err, &known) {
		words = known.Message
	}
	mine.Alarms = append([]api.Alarm{{
		Severity: api.Critical, What: "no server tells this agent about the cluster, so this is its own part alone: " + words,
		Do: "see that the voters run and can be reached from here: flip needs TCP and UDP on their ports",
	}}, mine.Alarms...)
	return mine, nil
}

// askThere has a question answered elsewhere.
func (l local) askThere(ctx context.Context, req *http.Request, into any) error {
	resp, err := l.Elsewhere.Pass(ctx, req.WithContext(ctx), nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return faultOf(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("decode a server's answer to %s: %w", req.URL.Path, err)
	}
	return nil
}

// faultOf is the failure that a server has answered with.
func faultOf(resp *http.Response) error {
	var e api.Error
	if err := json.NewDecoder(io.LimitReader(resp.Body, api.MaxWrite)).Decode(&e); err != nil || e.Code == "" {
		return &api.Error{Code: api.CodeInternal, Message: "a server answers: " + resp.Status, Hint: "its log has more"}
	}
	return &e
}

// pass hands a request on and its answer back, as it comes.
func (l local) pass(r *router, w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, api.MaxWrite))
	if err != nil {
		r.fail(w, req, badBody(err))
		return
	}
	resp, err := l.Elsewhere.Pass(req.Context(), req, body)
	if err != nil {
		r.fail(w, req, err)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	if err := copyOn(req.Context(), w, resp.Body); err != nil {
		r.log.Debug().Err(err).Str("path", req.URL.Path).Msg("an answer that was handed on has broken off")
		// Without its end: a stream that has broken off must not look complete.
		panic(http.ErrAbortHandler)
	}
}

// copyOn copies a stream as it comes. Who takes nothing for too long is dropped.
func copyOn(ctx context.Context, w http.ResponseWriter, from io.Reader) error {
	rc := http.NewResponseController(w)
	// A write that hangs when all is to end gives up.
	defer context.AfterFunc(ctx, func() { _ = rc.SetWriteDeadline(time.Now().Add(watchEnds)) })()
	buf := make([]byte, passBuffer)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := rc.SetWriteDeadline(time.Now().Add(watchPatience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if err := rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Joined is a server's status of the cluster with another node's own part in the
// place of that server's.
func Joined(theirs, mine api.Status) api.Status {
	out := theirs
	out.Node, out.Differences = mine.Node, mine.Differences
	own := map[string]api.Member{}
	for _, m := range mine.Members {
		own[string(m.Name)] = m
	}
	out.Members = make([]api.Member, 0, len(theirs.Members))
	for _, m := range theirs.Members {
		seen := own[string(m.Name)]
		m.TCP, m.UDP, m.HeardMS = seen.TCP, seen.UDP, seen.HeardMS
		m.RTTUS, m.LossPermille, m.LossFromPermille = seen.RTTUS, seen.LossPermille, seen.LossFromPermille
		out.Members = append(out.Members, m)
	}
	out.Alarms = nil
	for _, a := range theirs.Alarms {
		if a.Node == "" {
			out.Alarms = append(out.Alarms, a)
		}
	}
	for _, a := range mine.Alarms {
		if a.Node != "" {
			out.Alarms = append(out.Alarms, a)
		}
	}
	sortAlarms(out.Alarms)
	return out
}
