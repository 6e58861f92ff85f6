package api

import "fmt"

// The exit codes of `flip status --check` (a daemon that does not answer is 3).
const (
	CheckOK = 0 // all owned and acquired, and a failover is possible
	// CheckDegraded: failover impossible, drift, a failure remembered, a brake, a copy
	// without a holder, or another critical alarm.
	CheckDegraded = 1
	CheckBroken   = 2 // an item without a holder, or no leader
)

// Check judges a status as a monitoring system would, with the reasons in
// words, worst first.
func (s Status) Check() (code int, reasons []string) {
	var broken, degraded []string
	if s.Cluster.Leader == "" {
		broken = append(broken, "no leader")
	}
	for _, sys := range s.Systems {
		if sys.Braked {
			degraded = append(degraded, fmt.Sprintf("%s is braked", sys.Name))
		}
		if sys.BrakedItems > 0 {
			degraded = append(degraded, fmt.Sprintf("%s: %d items are braked", sys.Name, sys.BrakedItems))
		}
		switch {
		case sys.Unheld > 0:
			broken = append(broken, fmt.Sprintf("%s: %d of %d items without a holder", sys.Name, sys.Unheld, sys.Items))
		case sys.Missing > 0:
			degraded = append(degraded, fmt.Sprintf("%s: %d copies without a holder", sys.Name, sys.Missing))
		case sys.Acquired < sys.Items:
			degraded = append(degraded, fmt.Sprintf("%s: %d of %d items not yet acquired", sys.Name, sys.Items-sys.Acquired, sys.Items))
		}
	}
	if !s.Cluster.Failover.Possible {
		degraded = append(degraded, "failover impossible")
	}
	if n := len(s.Differences); n > 0 {
		degraded = append(degraded, fmt.Sprintf("drift: the file differs from the cluster in %d places", n))
	}
	if n := len(s.Failures); n > 0 {
		degraded = append(degraded, fmt.Sprintf("%d failures remembered", n))
	}
	if len(broken) == 0 { // else the alarms say the same again
		for _, a := range s.Alarms {
			if a.Severity == Critical {
				degraded = append(degraded, a.What)
			}
		}
	}
	switch {
	case len(broken) > 0:
		return CheckBroken, append(broken, degraded...)
	case len(degraded) > 0:
		return CheckDegraded, degraded
	default:
		return CheckOK, nil
	}
}
