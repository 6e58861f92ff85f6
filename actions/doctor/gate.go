package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// GateConfig is what Gate judges.
type GateConfig struct {
	Wanted bool          // at-most-one addresses that flip plumbs, with a gate
	Timing Timing        //
	Tick   time.Duration // of the kernel's timers; 0: not known
	Coarse error         // the tick is too coarse for the lease: no gate is built
	// Tried is what building one, elsewhere, has come to: Owned says whether the
	// kernel keeps others from altering it.
	Tried, Owned bool
	Err          error  // of the trial; nil without one
	Release      string // the kernel's, as uname has it
	Own          string // the name of the gate's tables
}

// The first kernels with an ability (ACTIONS.md 3 and 4).
var (
	ownerPersist = [2]int{6, 9}
	addressProto = [2]int{5, 18}
)

// Gate judges whether the kernel can end addresses by itself.
func Gate(c GateConfig) []Finding {
	const check = "gate"
	if !c.Wanted {
		return []Finding{skip(check, "no at-most-one addresses with a gate here")}
	}
	var out []Finding
	switch {
	case c.Coarse != nil:
		out = append(out, Finding{
			Check: check, Verdict: Bad, Found: fmt.Sprintf("the kernel's tick is %s: %v; addresses are taken over by their lifetime, seconds later", brief(c.Tick), c.Coarse),
			Do: "choose a longer timing, or a kernel with CONFIG_HZ=250 or more",
		})
	case c.Err != nil && errors.Is(c.Err, unix.EPERM):
		out = append(out, skip(check, "trying one takes root"))
	case c.Err != nil:
		out = append(out, Finding{
			Check: check, Verdict: Warn, Found: fmt.Sprintf("%v: addresses are taken over by their lifetime, seconds later", c.Err),
			Do: "load nf_tables (modprobe nf_tables), or run a kernel that has it",
		})
	case c.Tried && c.Owned:
		out = append(out, Finding{Check: check, Verdict: OK, Found: fmt.Sprintf("one was built in a namespace of its own; nobody but flip can alter it; tick %s, renewed every %s", brief(c.Tick), brief(c.Timing.Lease/3))})
	case c.Tried:
		out = append(out, unowned(c))
	case older(c.Release, ownerPersist):
		out = append(out, unowned(c))
	default:
		out = append(out, skip(check, "trying one takes root; Linux "+c.Release+" should have what it takes"))
	}
	if older(c.Release, addressProto) {
		out = append(out, Finding{
			Check: "kernel", Verdict: Note,
			Found: "Linux " + c.Release + " cannot mark addresses as flip's own (5.18): flip knows them by their label and its list",
		})
	}
	return out
}

func unowned(c GateConfig) Finding {
	return Finding{
		Check: "gate", Verdict: Warn,
		Found: "on Linux " + c.Release + " everybody may alter its tables (6.9 is the first without): flip puts them back in about 8 ms, and not at all while it is stopped",
		Do:    "run Linux 6.9 or later; until then let nobody run `nft flush ruleset` (reloads of nftables.service do)",
	}
}

// older compares a release, such as 6.1.0-18-amd64, with a version; one that
// cannot be read is not called old.
func older(release string, than [2]int) bool {
	parts := strings.FieldsFunc(release, func(r rune) bool { return r < '0' || r > '9' })
	if len(parts) < 2 {
		return false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err1 != nil || err2 != nil {
		return false
	}
	return major < than[0] || major == than[0] && minor < than[1]
}

// Others judges what else is in nf_tables; err is ReadRuleset's. A transaction of
// others keeps the gate from being renewed for as long as it takes, about 1 us an
// element; and each renewal is a new generation, for which a listing that is not
// done yet begins anew.
func Others(r Ruleset, err error, wanted bool, t Timing) []Finding {
	const check = "nf_tables of others"
	switch {
	case !wanted:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return []Finding{skip(check, "only root can list them")}
	case errors.Is(err, ErrNoTables):
		return nil // Gate says so
	case err != nil:
		return []Finding{skip(check, err.Error())}
	}
	elements := count(r.Elements, "element")
	if r.More {
		elements = "more than " + elements
	}
	f := Finding{Check: check, Verdict: OK, Found: fmt.Sprintf("%s, %s, %s; read in %s", count(r.Tables, "table"), count(r.Rules, "rule"), elements, brief(r.Took))}
	hold := time.Duration(r.Elements) * time.Microsecond
	switch renewed := t.Lease / 3; {
	case hold > t.Lease/2:
		f.Verdict = Warn
		f.Found += fmt.Sprintf(": loading that many anew holds renewals of the gate up for about %s, lease %s", brief(hold), brief(t.Lease))
		f.Do = "load changes only, in small transactions, instead of all anew; or choose a longer timing"
	case r.Took > renewed:
		f.Verdict = Warn
		f.Found += fmt.Sprintf(": a listing takes longer than from one renewal of the gate to the next (%s), and each renewal makes `nft list ruleset` begin anew", brief(renewed))
		f.Do = "choose a longer timing, or let tools list single tables"
	}
	return append([]Finding{f}, flowtables(r)...)
}

func flowtables(r Ruleset) []Finding {
	const check = "past the gate"
	var out []Finding
	for _, ft := range r.Flowtables {
		how := "forwards established connections past the gate"
		if ft.Hardware {
			how = "has the hardware forward established connections"
		}
		out = append(out, Finding{
			Check: check, On: strings.Join(ft.Devices, ","), Verdict: Warn,
			Found: fmt.Sprintf("flowtable %s of table %s %s", ft.Name, ft.Table, how),
			Do:    "keep connections of virtual addresses out of its `flow add` rule: what it has taken goes on after the gate is shut",
		})
	}
	if r.Forwards > 0 {
		out = append(out, Finding{
			Check: check, Verdict: Warn, Found: count(r.Forwards, "nftables rule") + " with `fwd` to another interface, before all hooks",
			Do: "keep virtual addresses out of it: nft list ruleset netdev",
		})
	}
	return out
}
