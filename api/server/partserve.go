package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// maxPartRequest is far above a PartRequest.
const maxPartRequest = 16 << 10

var errNoParts = &api.Error{
	Code: api.CodeUnavailable, Message: "this node is no voter: nobody can read from it what is agreed on", Hint: "ask a voter",
}

// part answers a PartRequest. An error is to be answered in its place.
func (m members) part(w http.ResponseWriter, req *http.Request) error {
	name, err := m.identify(req)
	if err != nil {
		return err
	}
	var in api.PartRequest
	if err := decode(req.Body, &in); err != nil {
		return err
	}
	if in.Member != name {
		return &api.Error{
			Code:    api.CodeForbidden,
			Message: fmt.Sprintf("the certificate is %s's, the request says %q", name, in.Member),
		}
	}
	if m.Parts == nil {
		return errNoParts
	}
	if err := m.Parts.reach(req.Context(), in); err != nil {
		return err
	}
	r, now, err := m.Parts.enter(in.Member, in.Instance)
	if err != nil {
		return err
	}
	defer m.Parts.leave(r)
	r.told.spec = in.Spec
	s := &partStream{parts: m.Parts, reader: r, w: w, rc: http.NewResponseController(w), ctx: req.Context()}
	defer s.cutOff()()
	if err := s.run(now); err != nil {
		m.Log.Debug().Err(err).Str("member", string(in.Member)).Msg("a member's stream has ended")
	}
	return nil
}

// reach waits until this node has read as far as a member that asks, for less than
// that one's patience.
func (p *Parts) reach(ctx context.Context, in api.PartRequest) error {
	limit := time.NewTimer(p.lease() / 4)
	defer limit.Stop()
	for {
		p.mu.Lock()
		state, at, off, news := p.state, p.at, p.off, p.news
		p.mu.Unlock()
		switch {
		case off:
			return errNoParts
		case in.Cluster != "" && state.Cluster() != "" && in.Cluster != state.Cluster():
			return &api.Error{
				Code:    api.CodeForbidden,
				Message: fmt.Sprintf("%s belongs to cluster %s, this node to cluster %s", in.Member, in.Cluster, state.Cluster()),
				Hint:    "two clusters share a key: give each its own; or move the data directory of the one that was moved away",
			}
		case at >= in.Have && state.Spec().Version != 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-limit.C:
			return &api.Error{
				Code: api.CodeBehind, Message: fmt.Sprintf("this node has read the log up to %d, %s up to %d", at, in.Member, in.Have),
				Hint: "ask another voter",
			}
		}
	}
}

// partStream is the answer to one PartRequest.
type partStream struct {
	parts  *Parts
	reader *reader
	w      http.ResponseWriter
	rc     *http.ResponseController
	ctx    context.Context
}

// cutOff has a write that hangs when the stream is to end give up.
func (s *partStream) cutOff() (undo func() bool) {
	return context.AfterFunc(s.ctx, func() { _ = s.rc.SetWriteDeadline(time.Now().Add(watchEnds)) })
}

// beatOf is how long the stream says nothing: between a quarter and a third of the
// lease, so that who hears nothing for half of it knows that something is wrong.
func beatOf(lease time.Duration) time.Duration { return lease * 7 / 24 }

// run streams until the server stops, the member is gone or another stream of it has
// taken this one's place.
func (s *partStream) run(now present) error {
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	s.w.Header().Set("Cache-Control", "no-store")
	if _, err := s.tell(now, true); err != nil {
		return err
	}
	beat := time.NewTimer(beatOf(s.parts.lease()))
	defer beat.Stop()
	for {
		due := false
		select {
		case <-s.ctx.Done():
			return nil
		case <-s.reader.over:
			return errors.New("ended here: the member reads elsewhere, or this node is no voter any more")
		case <-s.reader.wake:
		case <-beat.C:
			due = true
		}
		sent, err := s.tell(s.parts.take(s.reader), due)
		if err != nil {
			return err
		}
		if sent {
			beat.Reset(beatOf(s.parts.lease()))
		}
	}
}

// tell writes what there is to tell, or, when that is due, that there is nothing.
func (s *partStream) tell(now present, due bool) (sent bool, err error) {
	told := &s.reader.told
	if now.anew {
		if err := s.part(now.leader, func() (fsm.Part, bool) { return now.state.Part(s.reader.member, now.at), true }); err != nil {
			return false, err
		}
		sent = true
	}
	for _, step := range now.steps {
		was := told.part
		if err := s.part(now.leader, func() (fsm.Part, bool) { return step.Part(s.reader.member) }); err != nil {
			return false, err
		}
		sent = sent || told.part != was
	}
	if !sent && (due || now.leader != told.leader) {
		sent = true
		if err := s.put(now.leader, api.PartFrame{Index: now.at}); err != nil {
			return false, err
		}
	}
	if !sent {
		return false, nil
	}
	return true, s.rc.Flush()
}

// part writes one frame with a Part, if anything has changed.
func (s *partStream) part(l leading, of func() (fsm.Part, bool)) error {
	select {
	case s.parts.building <- struct{}{}:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	frame, changed := s.frame(of())
	<-s.parts.building
	if !changed {
		return nil
	}
	s.reader.told.part = frame.Index
	return s.put(l, frame)
}

// frame makes a frame of a Part.
func (s *partStream) frame(part fsm.Part, changed bool) (api.PartFrame, bool) {
	if !changed {
		return api.PartFrame{}, false
	}
	told := &s.reader.told
	out := api.PartFrame{Index: part.At}
	if part.Since != 0 {
		part.Since = told.part // nothing concerned the member in between
	} else if out.Kept = told.spec != 0 && told.spec == part.Head.Version; out.Kept {
		api.LeaveOut(&part)
	}
	if part.Head != nil {
		told.spec = part.Head.Version
	}
	out.Part = s.parts.encoder.Encode(part)
	return out, true
}

// put writes one frame. A member that takes nothing for too long loses the stream.
func (s *partStream) put(l leading, frame api.PartFrame) error {
	frame.AgeMS, frame.Leader, frame.LeaderAddr = -1, l.name, l.addr
	if a := s.parts.node.Age(); a >= 0 {
		frame.AgeMS = a.Milliseconds()
	}
	line, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	patience := max(s.parts.patience, s.parts.lease())
	if err := s.rc.SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// Looked at only now: a stream that ends from here on has its deadline cut short.
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if _, err := s.w.Write(append(line, '\n')); err != nil {
		return err
	}
	s.reader.told.leader = l
	return nil
}
