//go:build !linux

package client

import "time"

var started = time.Now()

// boottime is the best that there is where no daemon runs.
func boottime() time.Duration { return time.Since(started) }
