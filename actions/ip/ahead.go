package ip

import (
	"context"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// aheadFor is how long an answer of the wire counts that was asked for ahead:
// as long as it is asked again after plumbing.
const aheadFor = watchFor

var _ actions.Awaiter = (*Driver)(nil)

// ahead is the question before plumbing, asked while the item waits for others.
type ahead struct {
	token fsm.Token
	at    time.Time
	done  chan struct{} // closed when err is known
	err   error
}

// Awaited asks the wire for an item that will be acquired as soon as others have
// let go: the 5 ms of the question then delay nobody. Whoever still holds it is a
// member, and no stranger.
func (d *Driver) Awaited(job fsm.Job) {
	if !asksFirst(&job, d.cfg.Self) {
		return
	}
	// Not under a permit: nothing is done for the item yet.
	r, err := d.request(context.Background(), job, acquire)
	if err != nil {
		return // Acquire will say so
	}
	a := &ahead{token: job.Token, at: time.Now(), done: make(chan struct{})}
	d.mu.Lock()
	for k, old := range d.ahead {
		if time.Since(old.at) > aheadFor {
			delete(d.ahead, k)
		}
	}
	d.ahead[job.Key] = a
	d.mu.Unlock()
	d.asking.Go(func() {
		defer close(a.done)
		a.err = d.askFirst(r.ctx, r)
	})
}

// asked answers for a question that was asked ahead; false: there is none, or it
// is too old.
func (d *Driver) asked(ctx context.Context, job *fsm.Job) (ok bool, err error) {
	d.mu.Lock()
	a := d.ahead[job.Key]
	delete(d.ahead, job.Key)
	d.mu.Unlock()
	if a == nil || a.token != job.Token || time.Since(a.at) > aheadFor {
		return false, nil
	}
	select {
	case <-a.done:
		return true, a.err
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}
