package main

import (
	"os"
	"testing"
)

// asFlip makes the test binary be flip: scripts run it, and `flip demo` starts
// it as its nodes.
const asFlip = "FLIP_TEST_AS_FLIP"

func TestMain(m *testing.M) {
	if os.Getenv(asFlip) != "" {
		main()
	}
	os.Exit(m.Run()) //nolint:forbidigo // a TestMain ends the process
}
