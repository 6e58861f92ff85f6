package actions

import (
	"context"
	"strconv"

	"github.com/flip-ha/flip/fsm"
)

// Fence runs the command that switches a member's machine off: argv[1] is the
// member, argv[2] the system's config as JSON; FLIP_FENCE_MEMBER, FLIP_FENCE_EPOCH
// (the newest one that may still hold anything) and FLIP_FENCE_MACHINE say whom,
// FLIP_SYSTEM for what and FLIP_MEMBER who asks. nil: it is off, for sure. The
// caller's context bounds it by fence_timeout.
func (h *Hooks) Fence(ctx context.Context, f fsm.Fencing) error {
	config := string(f.Config)
	if config == "" {
		config = "{}"
	}
	c := call{
		verb: "fence", command: f.Command, timeout: "fence_timeout",
		argv: []string{f.Command, string(f.Member), config},
		env: environ([]string{
			"FLIP_SYSTEM=" + string(f.System),
			"FLIP_MEMBER=" + string(h.cfg.Self),
			"FLIP_FENCE_MEMBER=" + string(f.Member),
			"FLIP_FENCE_EPOCH=" + strconv.FormatUint(uint64(f.UpTo), 10),
			"FLIP_FENCE_MACHINE=" + f.Host.Machine,
		}),
	}
	return h.exec(ctx, c, h.cfg.Log.With().Str("system", string(f.System)).Str("fenced", string(f.Member)).Logger())
}
