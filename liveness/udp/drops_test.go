package udp

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestDropsAreLoggedSparingly(t *testing.T) {
	var out strings.Builder
	s := newStatistics(zerolog.New(&out))
	for range 100 {
		s.drop(dropped{why: DropCluster, sender: "n2", cluster: "c2", mine: "c1"}, time.Second)
		s.drop(dropped{why: DropUnfounded, sender: "n2"}, time.Second)
	}
	lines := out.String()
	if strings.Count(lines, "\n") != 1 {
		t.Errorf("lines:\n%s", lines)
	}
	for _, word := range []string{`"cluster":"c2"`, `"own_cluster":"c1"`, `"server":"n2"`, `"reason":"other-cluster"`} {
		if !strings.Contains(lines, word) {
			t.Errorf("no %s in %s", word, lines)
		}
	}
}

func TestDropNames(t *testing.T) {
	seen := map[string]bool{}
	for d := range drops + 1 {
		seen[d.String()] = true
	}
	if len(seen) != int(drops)+1 {
		t.Errorf("%v", seen)
	}
}
