package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

// Indexes to watch from: WatchState begins with the present state, WatchNow with
// what is yet to happen.
const (
	WatchState fsm.Index = 0
	WatchNow   fsm.Index = 1<<64 - 1
)

const (
	// A daemon writes something each 15 s: one that is silent for three times as
	// long is not there any more.
	watchSilence = 45 * time.Second
	// beatsMissed are the most of them: the processor of a busy machine is late too.
	beatsMissed = 5
	// Between two attempts to connect, doubled up to the most.
	watchRetry     = 100 * time.Millisecond
	watchRetryMost = 3 * time.Second
)

// Watch yields what changes after an index, or from WatchState or WatchNow on; of
// one system or, with "", of all. It connects again by itself, goes on where it was,
// and yields no event twice; one with Resync says that what was known counts no
// longer and the present state follows. Events of KindIdle it keeps to itself.
//
// Each failure is yielded: whoever goes on ranging has it try again. The sequence
// ends with ctx, or after an error that another attempt would not mend.
func (c *Client) Watch(ctx context.Context, from fsm.Index, system fsm.SystemID) iter.Seq2[api.Event, error] {
	return c.watch(ctx, watch{system: system, index: from})
}

func (c *Client) watch(ctx context.Context, begin watch) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		w := begin
		w.yield = yield
		for wait := watchRetry; ; wait = min(2*wait, watchRetryMost) {
			err := w.once(ctx, c)
			switch {
			case w.stopped || ctx.Err() != nil:
				return
			case !yield(api.Event{}, err) || hopeless(err):
				return
			}
			if w.heard {
				w.heard, wait = false, watchRetry
			}
			pause := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// hopeless reports whether an attempt with the same request would fail again.
func hopeless(err error) bool {
	switch api.CodeOf(err) {
	case api.CodeBadRequest, api.CodeNotFound, api.CodeMethod, api.CodeForbidden:
		return true
	default:
		return false
	}
}

// watch is where one Watch is.
type watch struct {
	system fsm.SystemID
	index  fsm.Index // all up to it was yielded
	yield  func(api.Event, error) bool
	// beat is how often the daemon is to say how old the picture may be; 0: it need not.
	// Such a word is yielded, as an event of KindIdle.
	beat    time.Duration
	held    []api.Event   // of a batch that is not complete
	resync  bool          // in the midst of the present state
	heard   bool          // on this connection
	quiet   time.Duration // after which it counts as dead
	stopped bool          // by who ranges
}

func (w *watch) path() string {
	q := url.Values{}
	if w.system != "" {
		q.Set("system", string(w.system))
	}
	switch w.index {
	case WatchState:
	case WatchNow:
		q.Set("from", api.FromNow)
	default:
		q.Set("index", strconv.FormatUint(uint64(w.index), 10))
	}
	if w.beat > 0 {
		q.Set("beat_ms", strconv.FormatInt(w.beat.Milliseconds(), 10))
	}
	return api.PathWatch + "?" + q.Encode()
}

// once watches over one connection, until that or the ranging ends.
func (w *watch) once(ctx context.Context, c *Client) error {
	w.held, w.quiet = nil, watchSilence
	if w.resync { // what was broken off is told again from its beginning
		w.resync, w.index = false, WatchState
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(watchSilence, func() { cancel(context.DeadlineExceeded) })
	defer silent.Stop()
	req, err := http.NewRequestWithContext(inner, http.MethodGet, "http://flip"+w.path(), nil)
	if err != nil {
		return fmt.Errorf("make request to %s: %w", api.PathWatch, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreached(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return answer(resp, nil)
	}
	for dec := json.NewDecoder(resp.Body); ; {
		var e api.Event
		if err := dec.Decode(&e); err != nil {
			if errors.Is(context.Cause(inner), context.DeadlineExceeded) {
				err = fmt.Errorf("nothing was heard for %v", w.quiet)
			}
			return brokenOff(err)
		}
		silent.Reset(w.silence(e))
		w.heard = true
		if !w.take(e) {
			w.stopped = true
			return nil
		}
	}
}

// silence is how long a daemon may be silent that has said e: less once it is known to
// say how old its picture is, which an older one does not.
func (w *watch) silence(e api.Event) time.Duration {
	if e.AgeMS != nil && w.beat > 0 {
		w.quiet = beatsMissed * w.beat
	}
	return w.quiet
}

// brokenOff is a stream that ended although nobody asked it to.
func brokenOff(err error) error {
	if errors.Is(err, io.EOF) {
		err = errors.New("the daemon has ended it")
	}
	return &api.Error{Code: api.CodeBroken, Message: "the watch broke off: " + err.Error(), Hint: "it goes on where it was once the daemon answers again"}
}

// take yields what is complete. It reports whether to go on.
func (w *watch) take(e api.Event) bool {
	switch {
	case e.Kind == api.KindIdle:
		if w.index == WatchNow || e.Index > w.index {
			w.index = e.Index
		}
		return w.beat == 0 || w.yield(e, nil)
	case e.Resync:
		w.held = nil
		w.resync = e.More
		w.index = e.Index
		return w.yield(e, nil)
	case w.resync:
		w.resync = e.More
		return w.yield(e, nil)
	case w.index != WatchNow && e.Index <= w.index:
		return true // told already
	}
	w.held = append(w.held, e)
	if e.More {
		return true
	}
	// Not told again, even if who ranges stops midway and the index is asked for.
	w.index = e.Index
	all := w.held
	w.held = nil
	for _, e := range all {
		if !w.yield(e, nil) {
			return false
		}
	}
	return true
}
