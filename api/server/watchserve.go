package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// watch serves api.PathWatch from a Hub; nil: there is none. stamp is of this moment.
func (r *router) watch(h *Hub, stamp func() api.Stamp) {
	r.mux.HandleFunc(api.PathWatch, func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			r.fail(w, req, &api.Error{Code: api.CodeMethod, Message: api.PathWatch + " takes GET, not " + req.Method})
			return
		}
		if h == nil {
			r.fail(w, req, &api.Error{Code: api.CodeUnavailable, Message: "this node cannot be watched"})
			return
		}
		wanted, err := h.wanted(req.URL.Query())
		if err != nil {
			r.fail(w, req, err)
			return
		}
		leave, err := h.enter()
		if err != nil {
			r.fail(w, req, err)
			return
		}
		defer leave()
		s := newStream(h, w, req, wanted)
		s.age = func() int64 { return stamp().AgeMS }
		defer s.cutOff()()
		if err := s.run(); err != nil {
			r.log.Debug().Err(err).Str("path", req.URL.Path).Msg("a watch has ended")
		}
	})
}

// wish is what a watcher asks for.
type wish struct {
	index  fsm.Index
	state  bool // begin with the present state
	system fsm.SystemID
	beat   time.Duration // how often to say how old what was told may be; 0: never
}

func (h *Hub) wanted(q url.Values) (wish, error) {
	state, at := h.now()
	out := wish{system: fsm.SystemID(q.Get("system")), state: !q.Has("index") && !q.Has("from")}
	if _, known := state.Spec().Systems[out.system]; out.system != "" && !known {
		return out, unknownSystem(state, out.system)
	}
	switch {
	case q.Has("index") && q.Has("from"):
		return out, badQuery("a watch takes index or from, not both")
	case q.Has("from") && q.Get("from") != api.FromNow:
		return out, badQuery("from takes " + api.FromNow + " and nothing else")
	case q.Has("from"):
		out.index = at
	case q.Has("index"):
		n, err := strconv.ParseUint(q.Get("index"), 10, 64)
		if err != nil {
			return out, badQuery("index is no number: " + q.Get("index"))
		}
		out.index = fsm.Index(n)
	}
	return out, out.wantsBeat(q)
}

func (w *wish) wantsBeat(q url.Values) error {
	if !q.Has("beat_ms") {
		return nil
	}
	ms, err := strconv.ParseUint(q.Get("beat_ms"), 10, 32)
	if err != nil || ms < uint64(minBeat.Milliseconds()) || ms > uint64(idleEvery.Milliseconds()) {
		return badQuery(fmt.Sprintf("beat_ms takes a number from %d to %d", minBeat.Milliseconds(), idleEvery.Milliseconds()))
	}
	w.beat = time.Duration(ms) * time.Millisecond
	return nil
}

func badQuery(what string) error {
	return &api.Error{Code: api.CodeBadRequest, Message: what, Hint: api.PathWatch + "?index=N goes on after index N"}
}

// stream is one watcher's answer.
type stream struct {
	hub    *Hub
	w      http.ResponseWriter
	rc     *http.ResponseController
	ctx    context.Context
	wanted wish
	place  place
	lines  []*line // what was read last
	buf    []byte
	held   *line        // to be sent once it is known whether more of its batch follows
	age    func() int64 // of what the node knows, in milliseconds; -1: not known
	due    *due         // nil: none is
}

func newStream(h *Hub, w http.ResponseWriter, req *http.Request, wanted wish) *stream {
	return &stream{
		hub: h, w: w, rc: http.NewResponseController(w), ctx: req.Context(),
		wanted: wanted, place: place{index: wanted.index}, lines: make([]*line, 0, h.chunk),
	}
}

// cutOff has a write that hangs when the stream is to end give up, so that a
// watcher that does not read keeps no server from stopping.
func (s *stream) cutOff() (undo func() bool) {
	return context.AfterFunc(s.ctx, func() { _ = s.rc.SetWriteDeadline(time.Now().Add(watchEnds)) })
}

// run streams until the server stops or the watcher is gone.
func (s *stream) run() error {
	s.w.Header().Set("Content-Type", "application/x-ndjson")
	s.w.Header().Set("Cache-Control", "no-store")
	s.w.WriteHeader(http.StatusOK)
	if s.wanted.state {
		if err := s.resync("this is how things are"); err != nil {
			return err
		}
	}
	beat := time.NewTicker(s.every())
	defer beat.Stop()
	if s.wanted.beat > 0 {
		s.due = s.look()
	}
	// The answer has begun: who has nothing to hear hears that at once.
	for quiet := !s.wanted.state; s.ctx.Err() == nil; quiet = false {
		got, more, err := s.turn()
		if err == nil && !more && (quiet || s.due != nil) {
			err = s.beat(got.at, quiet, beat)
		}
		if err != nil {
			return err
		}
		if more {
			if s.wanted.beat == 0 {
				s.due = nil
				beat.Reset(s.hub.idle)
			}
			continue
		}
		select {
		case <-s.ctx.Done():
		case <-got.news:
		case <-beat.C:
			if s.due == nil {
				s.due = s.look()
			}
		}
	}
	return nil
}

func (s *stream) every() time.Duration {
	if s.wanted.beat > 0 {
		return s.wanted.beat
	}
	return s.hub.idle
}

// due is a word that the stream lives: to a watcher who wants to know how old his
// picture may be, once he has been told all that the node knew at that age.
type due struct {
	read fsm.Index
	age  *int64
	at   time.Time
}

// look is how things are with this node, for a word of it as soon as that is true of
// the watcher too.
func (s *stream) look() *due {
	if s.wanted.beat == 0 {
		return &due{}
	}
	d := &due{at: time.Now()}
	age := s.age()
	d.age = &age
	_, d.read = s.hub.node.View()
	return d
}

// beat says that the stream lives, if that is due and, or soon, true of all up to at.
func (s *stream) beat(at fsm.Index, first bool, next *time.Ticker) error {
	if s.due == nil {
		s.due = s.look()
	}
	if d := s.due; d.age != nil && d.read > at && !first {
		next.Reset(beatSoon)
		return nil
	}
	e := idleEvent(at)
	if d := s.due; d.age != nil && d.read <= at {
		if e.AgeMS = d.age; *e.AgeMS >= 0 {
			*e.AgeMS += time.Since(d.at).Milliseconds()
		}
	}
	s.due = nil
	next.Reset(s.every())
	return s.idle(e)
}

// turn tells the watcher some of what he has not been told; more: there may be
// more to tell.
func (s *stream) turn() (got reading, more bool, err error) {
	got = s.hub.read(&s.place, s.lines)
	switch {
	case got.lost:
		return got, true, s.resync("what came after the index asked for is not kept, so this is how things are")
	case len(got.lines) > 0:
		return got, true, s.send(got)
	default:
		return got, false, nil
	}
}

// send writes what was read. The last line waits for what follows it, if its batch
// is not read to its end.
func (s *stream) send(got reading) error {
	for _, l := range got.lines {
		if !s.wants(l.System) {
			continue
		}
		if err := s.release(s.held != nil && s.held.Index == l.Index); err != nil {
			return err
		}
		s.held = l
	}
	if got.open {
		return s.flush()
	}
	if err := s.release(false); err != nil {
		return err
	}
	return s.flush()
}

func (s *stream) wants(system fsm.SystemID) bool {
	return s.wanted.system == "" || system == "" || system == s.wanted.system
}

// release writes the line held back.
func (s *stream) release(more bool) error {
	if s.held == nil {
		return nil
	}
	s.buf = s.held.append(s.buf, more)
	s.held = nil
	return s.full()
}

// resync tells how things are, whatever the watcher was told before.
func (s *stream) resync(why string) error {
	s.held = nil
	state, at := s.hub.skip(&s.place)
	next := api.Event{Index: at, Kind: api.KindResync, Resync: true, Voters: state.Voters().IDs, Words: why}
	put := func(e *api.Event) error {
		s.buf = closeJSON(append(s.buf, openJSON(next)...), e != nil)
		if e != nil {
			next = *e
		}
		return s.full()
	}
	for _, id := range memberNames(state, state.Spec()) {
		is := memberState(state, id)
		if err := put(&api.Event{Index: at, Kind: api.KindState, Member: id, MemberState: is, Words: string(id) + " is " + is}); err != nil {
			return err
		}
	}
	for row := range rowsOf(state, s.wanted.system) {
		e := api.Event{
			Index: at, Kind: api.KindState, Member: row.Owner, System: row.System, Item: row.Item, Rank: row.Rank,
			Slot: &row, Words: rowWords(row),
		}
		if err := put(&e); err != nil {
			return err
		}
	}
	if err := put(nil); err != nil {
		return err
	}
	return s.flush()
}

func (s *stream) idle(e api.Event) error {
	s.buf = closeJSON(append(s.buf, openJSON(e)...), false)
	return s.flush()
}

func idleEvent(at fsm.Index) api.Event {
	return api.Event{Index: at, Kind: api.KindIdle, Words: "nothing has changed"}
}

// full writes what there is once it is much.
func (s *stream) full() error {
	if len(s.buf) < watchBuffer {
		return nil
	}
	return s.flush()
}

// flush writes what there is. A watcher that takes nothing for too long is dropped.
func (s *stream) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	if err := s.rc.SetWriteDeadline(time.Now().Add(s.hub.patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	// Looked at only now: a stream that ends from here on has its deadline cut short.
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if _, err := s.w.Write(s.buf); err != nil {
		return err
	}
	s.buf = s.buf[:0]
	return s.rc.Flush()
}
