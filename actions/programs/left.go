package programs

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flip-ha/flip/actions"
	"github.com/flip-ha/flip/fsm"
)

// Left is the driver for who outlives the daemon and cannot speak with programs: what
// one of them may have is let go of when it has ended, and not before. It acquires
// nothing.
type Left struct {
	Path   string
	Boot   string
	Member fsm.MemberID
	// Others lets go of what is not a program's.
	Others interface {
		Release(ctx context.Context, job fsm.Job) error
	}

	mu    sync.Mutex
	since map[fsm.SystemID]time.Time
}

// Release implements actions.Driver.
func (l *Left) Release(ctx context.Context, job fsm.Job) error {
	if job.Action != fsm.ActionClient {
		return l.Others.Release(ctx, job)
	}
	entries, err := Read(l.Path, l.Boot, l.Member)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.System != job.System {
			continue
		}
		p, err := Open(e.ProcessID)
		if HasEnded(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = l.ask(ctx, &job, e, p)
		_ = p.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// ask says what becomes of a program that lives: it lets go by itself when it hears
// nothing, but nobody but a daemon can be told of that.
func (l *Left) ask(ctx context.Context, job *fsm.Job, e Entry, p Process) error {
	l.mu.Lock()
	if l.since == nil {
		l.since = map[fsm.SystemID]time.Time{}
	}
	since, known := l.since[job.System]
	if !known {
		since = time.Now()
		l.since[job.System] = since
	}
	l.mu.Unlock()
	limit := job.StopTimeout
	if limit <= 0 {
		limit = actions.DefaultTimeout
	}
	err := fmt.Errorf("%s (process %d) lives, and may have it", nameOf(e), e.PID)
	if !job.KillOnTimeout || time.Since(since) < limit {
		return err
	}
	if killed := p.Kill(); killed != nil {
		return fmt.Errorf("%w; kill it: %w", err, killed)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWait)
	defer cancel()
	if p.Wait(ctx) != nil {
		return fmt.Errorf("%w; nor does SIGKILL end it", err)
	}
	return nil
}

func nameOf(e Entry) string {
	if e.Name == "" {
		return "the program"
	}
	return "the program " + e.Name
}
