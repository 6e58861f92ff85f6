package guard_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flip-ha/flip/actions/guard"
	"github.com/flip-ha/flip/actions/ledger"
)

// Without a guard nothing is started, and everything may end.
func TestNoGuardToTell(t *testing.T) {
	g := guard.New(guard.Config{Command: []string{"/nonexistent/flip"}, Log: nolog})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	began := time.Now()
	if err := g.Put(ledger.Entry{ID: 1, Phase: ledger.Stopping}); err != nil {
		t.Errorf("a release waits for a guard: %v", err)
	}
	if err := g.Drop(1); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("the daemon was held up for %v", took)
	}
	err := g.Put(ledger.Entry{ID: 2, Phase: ledger.Starting})
	if !errors.Is(err, guard.ErrNoGuard) || !strings.Contains(err.Error(), "/nonexistent/flip") {
		t.Errorf("started without a guard: %v", err)
	}
	if s := g.Status(); s.Up || s.PID != 0 || s.Restarts == 0 || s.Err == "" {
		t.Errorf("status %+v", s)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
