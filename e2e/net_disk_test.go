package e2e

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/flip-ha/flip/e2e/lab"
	"github.com/flip-ha/flip/e2e/mono"
)

// iceLimit is when a frozen disk thaws, whatever happens.
const iceLimit = 8 * time.Second

// stalls are the faults of a disk that nothing is written to any more.
var stalls = []fault{
	{name: "disk stalled under the owner", do: (*scene).freezes, over: (*scene).noticed, undo: (*scene).thaws, undone: thawed},
	{name: "disk stalled under the leader", leader: true, do: (*scene).freezes, over: (*scene).otherLeader, undo: (*scene).thaws, undone: thawed},
}

// thawed is the row of undoing a stall.
const thawed = "disk writes again"

func TestNetStalledDiskLan(t *testing.T)  { testStalledDisk(t, "lan") }
func TestNetStalledDiskFast(t *testing.T) { testStalledDisk(t, "fast") }

func testStalledDisk(t *testing.T, timing string) {
	if timing != "lan" && !full() {
		t.Skip("left out unless FLIP_E2E_FULL is set")
	}
	m := newMatrix(t, timing, nil, func(n *network) {
		for _, h := range n.Hosts {
			err := h.Mount()
			if errors.Is(err, lab.ErrNoDisk) {
				t.Skipf("a disk can be stalled only where there are loop devices: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	m.run(stalls)
	m.record()
}

func (s *scene) freezes() mono.Time {
	s.t.Helper()
	at := mono.Now()
	ice, err := s.victim.Freeze(iceLimit, []string{os.Args[0]}, []string{roleEnv + "=" + roleIce})
	if err != nil {
		s.t.Fatal(err)
	}
	s.ice = ice
	s.after = append(s.after, func() { s.thaws() })
	return at
}

// thaws lets the disk write again.
func (s *scene) thaws() mono.Time {
	s.t.Helper()
	at := mono.Now()
	if s.ice != nil {
		if err := s.ice.Thaw(); err != nil {
			s.t.Error(err)
		}
		s.ice = nil
	}
	return at
}

// noticed lets a while pass: an owner whose disk stalls may go on, as long as it
// hears what the others agree on.
func (s *scene) noticed() { waitFor(3 * time.Second) }

// otherLeader waits until the others have a leader of their own: one that cannot
// write commits nothing and gives up, and with it goes what it held.
func (s *scene) otherLeader() {
	s.eventually(iceLimit-time.Second, "another leader", func() error {
		for _, h := range s.others(s.victim) {
			st, err := s.status(h)
			if err != nil {
				return err
			}
			if said := s.Host(string(st.Cluster.Leader)); said == nil || said == s.victim {
				return errors.New("it is still " + string(st.Cluster.Leader))
			}
		}
		return nil
	})
	s.takenOver(settleLimit, s.victim, s.g.addrs()...)
}
