// Package seeded makes the property tests of a package that imports it draw the
// same cases each time, so that a failure comes from the change and not from
// luck. FLIP_RANDOM=1 in the environment, as `make soak` sets it, draws others;
// -rapid.seed still names one.
package seeded

import (
	"flag"
	"os"

	_ "pgregory.net/rapid" // its flags
)

func init() {
	if os.Getenv("FLIP_RANDOM") != "" {
		return
	}
	if err := flag.Set("rapid.seed", "1"); err != nil {
		panic(err) // rapid has no such flag any more
	}
}
