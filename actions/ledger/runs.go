package ledger

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"github.com/flip-ha/flip/actions"
)

// EndRuns ends every process of the runs that entries name: see actions.EndRuns.
// It comes before anything is released for them: an orphaned `alive` may end
// after that, and bring the item up again.
func EndRuns(ctx context.Context, runs []string, grace time.Duration, log zerolog.Logger) error {
	return actions.EndRuns(ctx, runs, grace, log)
}
