package fsm

import (
	"strings"
	"testing"
)

func TestServerName(t *testing.T) {
	for name, want := range map[string]bool{
		"n4": true, "a.b_c-D9": true, "": false, ".n": false, "-n": false, "a/b": false, "ä": false,
		strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if got := GoodServerName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
