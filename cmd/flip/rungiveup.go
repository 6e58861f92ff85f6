package main

import (
	"context"
	"errors"
	"time"
)

const (
	// endWait bounds how long a daemon that has let go of everything waits for its
	// parts: Raft's own stop takes two seconds at most, an effect is ended after
	// two more.
	endWait = 5 * time.Second
	// closeWait bounds the closing of files: on a disk that hangs it never ends.
	closeWait = time.Second
	// guardWait is what a guard may take to end this process: it acts within some
	// milliseconds, or is not there.
	guardWait = time.Second
)

// errStuck is of a part that does not end: a thread in a call that never returns
// keeps the process around after its exit, and must be harmless.
var errStuck = errors.New("a part of flip does not end (a disk that hangs?): leaving it behind")

// inTime runs f, and leaves it behind if it takes longer than limit.
func inTime(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errStuck
	}
}

// giveUp is what a leader does that could commit nothing (DESIGN.md 4 of the
// project). Nothing here may wait for the disk. Raft's transport is closed
// already. All else that others hear of this process is closed explicitly: the
// descriptors of a process outlive its exit for as long as one of its threads is
// stuck.
//
// At the end of its pipe the guard ends this process and lets go of what it holds.
// Where there is none, or it does not act, the process does so itself. Its goodbye
// comes first and names what is not released yet: from then on it sends no
// heartbeat, so that nobody waits for hooks that may hang as the disk does.
func (d *daemon) giveUp(last context.Context) error {
	d.tellStopping("this leader can commit nothing: giving up")
	if err := d.port.Close(); err != nil {
		d.log.Warn().Err(err).Msg("cannot close the port")
	}
	if d.guard != nil && d.guard.Status().Up {
		d.guard.Close()
		timer := time.NewTimer(guardWait)
		defer timer.Stop()
		<-timer.C
		d.log.Error().Dur("waited", guardWait).Msg("the guard has not ended this process: it lets go of all by itself")
	}
	if !d.shutGate() {
		return nil // it shuts with the lease, which ends with this process
	}
	released := make(chan error, 1)
	go func() { released <- d.release(last, false) }()
	d.sayGoodbye(last, true)
	err := <-released
	d.sayGoodbye(last, true)
	return err
}
