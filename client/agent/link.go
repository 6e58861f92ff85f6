package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// link is one stream from one voter. It folds what it is told into a State of its
// own, so that it can begin beside another one.
type link struct {
	voter fsm.MemberID
	begun time.Time
	end   context.CancelFunc

	// What the follower knows of it.
	heard time.Time // when it last told anything
	since time.Time // since when its reading is shown
	now   view
}

// news is what comes from a link: a frame, or its end.
type news struct {
	link   *link
	view   view
	leader leader
	fresh  time.Time // when the voter last knew itself up to date; zero: never
	err    error
}

// follow reads a stream to its end and hands on what it says.
func (l *link) follow(ctx context.Context, peers Peers, to client.Target, req api.PartRequest, spec *fsm.Spec, out chan<- news) {
	tell := func(n news) bool {
		n.link = l
		select {
		case out <- n:
			return true
		case <-ctx.Done():
			return false
		}
	}
	stream, err := peers.Part(ctx, to, req)
	if err != nil {
		tell(news{err: err})
		return
	}
	defer func() { _ = stream.Close() }()
	r := reading{cluster: req.Cluster, have: req.Have, spec: spec}
	for {
		frame, err := stream.Next()
		if err == nil {
			err = r.take(frame)
		}
		if err != nil {
			tell(news{err: err})
			return
		}
		n := news{view: r.view, leader: leader{frame.Leader, frame.LeaderAddr}}
		if frame.AgeMS >= 0 {
			n.fresh = time.Now().Add(-time.Duration(frame.AgeMS) * time.Millisecond)
		}
		if !tell(n) {
			return
		}
	}
}

// reading folds the frames of one stream.
type reading struct {
	view
	have    fsm.Index
	cluster string
	spec    *fsm.Spec // the newest known, by this stream or another
}

var errBackwards = errors.New("it has read less of the log than this member")

// take takes the next frame in. What does not follow from the frame before ends the
// stream: a voter that has lost what it had, or is of another release.
func (r *reading) take(f api.PartFrame) error {
	if f.Index < max(r.at, r.have) {
		return fmt.Errorf("%w: %d after %d", errBackwards, f.Index, max(r.at, r.have))
	}
	if len(f.Part) == 0 {
		if r.state == nil {
			return errors.New("the stream does not begin with what there is")
		}
		r.at = f.Index
		return nil
	}
	part, err := fsm.DecodePart(f.Part)
	if err != nil {
		return fmt.Errorf("decode what was read: %w", err)
	}
	if part.At != f.Index {
		return fmt.Errorf("a part of index %d came as one of %d", part.At, f.Index)
	}
	base := r.state
	if base == nil {
		base = fsm.New()
	}
	if f.Kept {
		if err := api.PutBack(&part, r.spec); err != nil {
			return fmt.Errorf("take in what was read: %w", err)
		}
	}
	state, err := base.WithPart(part)
	if err != nil {
		return fmt.Errorf("take in what was read: %w", err)
	}
	if id := state.Cluster(); id != r.cluster {
		if r.cluster != "" {
			return fmt.Errorf("it is of cluster %s, this member of cluster %s", id, r.cluster)
		}
		r.cluster = id
	}
	r.view, r.spec = view{state: state, at: f.Index}, state.Spec()
	return nil
}
