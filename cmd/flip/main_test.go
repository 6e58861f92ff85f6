package main

import (
	"fmt"
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
	if socket := os.Getenv(programRole); socket != "" {
		if err := beProgram(socket); err != nil {
			fmt.Println("ended:", err)
		}
		return
	}
	os.Exit(m.Run()) //nolint:forbidigo // a TestMain ends the process
}
