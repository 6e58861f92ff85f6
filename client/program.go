package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"sync"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/fsm"
)

const (
	// A daemon writes something each second: one that is silent for so long is not
	// there any more, or has stopped.
	programSilence = 5 * time.Second
	// Between two attempts to reach the daemon, doubled up to the most: a new one is
	// to find its programs soon.
	programRetry     = 20 * time.Millisecond
	programRetryMost = time.Second
	// askTime bounds one question for the lease.
	askTime = 2 * time.Second
)

// ClaimOptions says how a system is claimed.
type ClaimOptions struct {
	// Name is what the program calls itself, for people: it stands in logs and errors.
	Name string
	// Wait has Claim wait for as long as another program on this node has the system.
	Wait bool
}

// Ownership is a program's claim of a system of `"action": "client"` on the node on
// whose socket it was made: the program is the system's action there. It has the claim
// until Close, or until its process ends, whether it is connected or not.
//
// Watch tells what to take and to let go of, Ack says that it was done. The methods may
// be called from any goroutine; one Watch at a time.
type Ownership struct {
	client  *Client
	system  fsm.SystemID
	session string
	name    string
	member  fsm.MemberID
	clock   func() time.Duration

	mu      sync.Mutex
	account *account
	stream  *programStream // that Claim has opened; nil: Watch opens one
	news    chan struct{}  // capacity 1: there may be something to tell
	ask     chan struct{}  // capacity 1: there is something to say to the daemon
	refused error          // no attempt will mend it
	trouble error          // to be told to who ranges
}

// Claim claims a system for this program. It returns when the daemon has agreed, or
// with an error that another attempt would not mend.
func (c *Client) Claim(ctx context.Context, system fsm.SystemID, o ClaimOptions) (*Ownership, error) {
	if c.remote != nil {
		return nil, &api.Error{
			Code: api.CodeForbidden, Message: "a program claims a system on the socket of its own machine's daemon",
			Hint: "use client.New with that socket",
		}
	}
	own := &Ownership{
		client: c, system: system, name: o.Name, session: rand.Text(), clock: boottime,
		account: newAccount(), news: make(chan struct{}, 1), ask: make(chan struct{}, 1),
	}
	for wait := programRetry; ; wait = min(2*wait, programRetryMost) {
		stream, err := own.open(ctx)
		if err == nil {
			own.stream = stream
			return own, nil
		}
		if !o.Wait || api.CodeOf(err) != api.CodeClaimed {
			return nil, err
		}
		if !sleep(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// Member is the node that the program is on.
func (o *Ownership) Member() fsm.MemberID {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.member
}

// Lease is for how long what is at-most-one may be held on if nothing more is heard
// from the daemon; 0: nothing may. At its end Watch tells to release it, and whoever
// does something that only one may do asks here right before it.
func (o *Ownership) Lease() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(o.account.until-o.clock(), 0)
}

// Ack says that what an event says is done: the item is served here, or it is let go
// of. It does not wait for the daemon, which is told as soon as it can be.
func (o *Ownership) Ack(e ItemEvent) {
	o.mu.Lock()
	o.account.done(&e, o.clock())
	o.mu.Unlock()
	poke(o.ask)
	poke(o.news)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Watch yields what the program is to do, in the daemon's order: a release before the
// acquires that come with it. It connects again by itself and yields no event twice.
// Each failure to reach the daemon is yielded, with an empty event: whoever goes on
// ranging has it try again.
//
// It ends with ctx; the claim stands, and another Watch goes on. After an error that
// another attempt would not mend it yields a release of everything, and when that is
// acknowledged the error, and ends.
func (o *Ownership) Watch(ctx context.Context) iter.Seq2[ItemEvent, error] {
	return func(yield func(ItemEvent, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		wg.Go(func() { o.listen(ctx) })
		wg.Go(func() { o.speak(ctx) })
		defer wg.Wait()
		defer cancel()
		for ctx.Err() == nil {
			e, wait, err := o.next()
			switch {
			case err != nil:
				if !yield(ItemEvent{}, err) {
					return
				}
			case e.Kind != "":
				if !yield(e, nil) {
					return
				}
			case wait == over:
				yield(ItemEvent{}, o.refused)
				return
			default:
				o.pause(ctx, wait)
			}
		}
	}
}

// over is the wait of who has nothing to wait for.
const over time.Duration = -1

// next is what to tell now; wait: until when there is nothing.
func (o *Ownership) next() (e ItemEvent, wait time.Duration, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err, o.trouble = o.trouble, nil; err != nil {
		return e, 0, err
	}
	now := o.clock()
	e, _ = o.account.pop(now)
	switch {
	case o.refused != nil && len(o.account.items) == 0:
		return e, over, nil
	case now < o.account.until:
		return e, o.account.until - now, nil
	default:
		return e, programSilence, nil
	}
}

func (o *Ownership) pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-o.news:
	case <-timer.C:
	}
}

// sleep reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// listen reads what the daemon says, over one connection after the other.
func (o *Ownership) listen(ctx context.Context) {
	for wait := programRetry; ctx.Err() == nil; wait = min(2*wait, programRetryMost) {
		o.mu.Lock()
		stream := o.stream
		o.stream = nil
		o.mu.Unlock()
		var err error
		if stream == nil {
			stream, err = o.open(ctx)
		}
		if err == nil {
			wait = programRetry
			err = o.read(ctx, stream)
		}
		if ctx.Err() != nil {
			return
		}
		o.mu.Lock()
		o.trouble = err
		if hopeless(err) || api.CodeOf(err) == api.CodeClaimed || api.CodeOf(err) == api.CodeRefused {
			o.trouble, o.refused = nil, err
			o.account.lapse(func(*owned) bool { return true }, CauseLease, "the daemon does not know the claim any more: "+err.Error())
			o.account.forget()
		}
		refused := o.refused != nil
		o.mu.Unlock()
		poke(o.news)
		if refused || !sleep(ctx, wait) {
			return
		}
	}
}

// programStream is one connection on which a program is told what to do.
type programStream struct {
	body   io.ReadCloser
	lines  *json.Decoder
	silent *time.Timer // cuts it off
	cut    context.CancelFunc
}

func (s *programStream) close() {
	s.silent.Stop()
	s.cut()
	_ = s.body.Close() // nothing more is read
}

// next reads one line.
func (s *programStream) next() (api.ProgramEvent, error) {
	var e api.ProgramEvent
	if err := s.lines.Decode(&e); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
			err = errors.New("the daemon has ended it, or is silent")
		}
		return e, &api.Error{Code: api.CodeBroken, Message: "the claim's stream broke off: " + err.Error(), Hint: "it goes on once the daemon answers again; the claim stands"}
	}
	s.silent.Reset(programSilence)
	return e, nil
}

// open opens the stream of the claim, which outlives ctx, and reads its first line.
func (o *Ownership) open(ctx context.Context) (*programStream, error) {
	o.mu.Lock()
	claim := api.ProgramClaim{System: o.system, Name: o.name, Session: o.session, Seq: o.account.read, Items: o.account.present()}
	o.mu.Unlock()
	data, err := json.Marshal(claim)
	if err != nil {
		return nil, fmt.Errorf("encode the claim: %w", err)
	}
	inner, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cut)()
	req, err := http.NewRequestWithContext(inner, http.MethodPost, "http://flip"+api.PathProgram, bytes.NewReader(data))
	if err != nil {
		cut()
		return nil, fmt.Errorf("make request to %s: %w", api.PathProgram, err)
	}
	req.Header.Set("Content-Type", "application/json")
	s := &programStream{cut: cut, silent: time.AfterFunc(programSilence, cut)}
	resp, err := o.client.http.Do(req) //nolint:bodyclose // by s.close
	if err != nil {
		s.silent.Stop()
		cut()
		return nil, o.client.unreached(ctx, err)
	}
	s.body, s.lines = resp.Body, json.NewDecoder(resp.Body)
	if resp.StatusCode != http.StatusOK {
		defer s.close()
		return nil, answer(resp, nil)
	}
	e, err := s.next()
	if err == nil && e.Kind != api.ProgramSession {
		err = &api.Error{Code: api.CodeBroken, Message: "the claim's stream begins with " + e.Kind, Hint: "does another program answer there?"}
	}
	if err = cmp.Or(err, ctx.Err()); err != nil {
		s.close()
		return nil, err
	}
	o.mu.Lock()
	o.member = e.Member
	o.mu.Unlock()
	return s, nil
}

// read takes in what one connection says until it breaks off.
func (o *Ownership) read(ctx context.Context, s *programStream) error {
	defer s.close()
	defer context.AfterFunc(ctx, s.cut)()
	poke(o.ask)
	for {
		e, err := s.next()
		if err != nil {
			return err
		}
		if e.Kind == api.ProgramLease {
			continue
		}
		o.mu.Lock()
		o.account.hear(&e, o.clock())
		o.mu.Unlock()
		poke(o.news)
		poke(o.ask)
	}
}

// speak tells the daemon what was done, and asks for the lease again and again.
func (o *Ownership) speak(ctx context.Context) {
	again := programRetry
	for {
		if next, err := o.say(ctx, false); err == nil {
			again = next
		} else {
			again = min(max(2*again, programRetry), programRetryMost)
		}
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-o.ask:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// say tells the daemon once. What it was told of is forgotten only then.
func (o *Ownership) say(ctx context.Context, leave bool) (again time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	o.mu.Lock()
	ack := api.ProgramAck{Session: o.session, Seqs: o.account.acks, Gone: o.account.gone, Leave: leave}
	// The lease counts from before it was asked for.
	asked := o.clock()
	o.mu.Unlock()
	var got api.ProgramAcked
	if err := o.client.Do(ctx, http.MethodPost, api.PathProgramAck, ack, &got); err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.account.acks = o.account.acks[len(ack.Seqs):]
	o.account.gone = o.account.gone[len(ack.Gone):]
	o.account.lease(asked+time.Duration(got.LeaseMS)*time.Millisecond, o.clock())
	poke(o.news)
	return time.Duration(got.AgainMS) * time.Millisecond, nil
}

// Close ends the claim: the program has let go of everything, and is told of nothing
// any more. It is to be called when no Watch runs. Without it the claim ends with the
// program.
func (o *Ownership) Close(ctx context.Context) error {
	o.mu.Lock()
	stream := o.stream
	o.stream = nil
	o.mu.Unlock()
	if stream != nil {
		stream.close()
	}
	for {
		_, err := o.say(ctx, true)
		switch {
		case err == nil || api.CodeOf(err) == api.CodeNotFound:
			return nil
		case !sleep(ctx, programRetry):
			return fmt.Errorf("end the claim of %s: %w", o.system, err)
		}
	}
}
