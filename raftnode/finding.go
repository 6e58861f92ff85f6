package raftnode

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

// Trouble is what is wrong with a peer, as one word.
type Trouble string

// The troubles.
const (
	TroubleNone    Trouble = ""
	TroubleRefused Trouble = "refused" // TCP refused
	TroubleSilent  Trouble = "silent"  // no answer over TCP
	TroubleName    Trouble = "name"    // its host name does not resolve
	TroubleKey     Trouble = "key"     // another shared key
	TroubleOldKey  Trouble = "old-key" // one of the two has a key that was rotated away
	TroubleCert    Trouble = "certificate"
	TroubleCluster Trouble = "cluster" // of another cluster
	TroubleVoters  Trouble = "voters"  // another list of voters
	TroubleWire    Trouble = "wire"    // no wire version in common
	TroubleOther   Trouble = "other"
)

// Finding is what this node knows of another one.
type Finding struct {
	Name    fsm.MemberID
	Addr    string
	Trouble Trouble
	Words   string // one sentence
	Hint    string // what to do about it; "" when nothing
	At      time.Time
	Hello   *Hello // its last answer; nil when it did not answer
}

// judge compares two nodes that talk to each other.
func judge(mine, theirs Hello, s fsm.Server) Finding {
	f := Finding{Name: s.Name, Addr: s.Addr, At: time.Now(), Hello: &theirs}
	if f.Name == "" {
		f.Name = theirs.Name
	}
	switch {
	case theirs.Name != f.Name:
		f.Trouble = TroubleOther
		f.Words = fmt.Sprintf("at %s answers %q, not %s", s.Addr, theirs.Name, f.Name)
		f.Hint = "check the addresses under servers, and the id each node runs with"
	case mine.Wire[1] < theirs.Wire[0] || theirs.Wire[1] < mine.Wire[0]:
		f.Trouble = TroubleWire
		f.Words = fmt.Sprintf("%s (flip %s) speaks wire versions %d to %d, this node (flip %s) %d to %d",
			f.Name, theirs.Version, theirs.Wire[0], theirs.Wire[1], mine.Version, mine.Wire[0], mine.Wire[1])
		f.Hint = "upgrade the older one"
	case mine.Cluster != "" && theirs.Cluster != "" && mine.Cluster != theirs.Cluster:
		f.Trouble = TroubleCluster
		f.Words = fmt.Sprintf("%s belongs to cluster %s, this node to cluster %s", f.Name, theirs.Cluster, mine.Cluster)
		f.Hint = "if it is to join, stop it and move its data directory away"
	case mine.Voters != theirs.Voters && (mine.Cluster == "" || mine.Cluster != theirs.Cluster):
		// Two of one cluster read the same log: one of them is a moment ahead.
		f.Trouble = TroubleVoters
		f.Words = fmt.Sprintf("%s has another list of voters: there %s; here %s",
			f.Name, strings.Join(theirs.VoterList, ", "), strings.Join(mine.VoterList, ", "))
		f.Hint = "make the servers in both files the same"
	default:
		f.Words = fmt.Sprintf("%s answers", f.Name)
	}
	return f
}

// unproven puts into words that one of two nodes does not take what the other shows;
// false: the greeting failed for something else.
func unproven(f *Finding, s fsm.Server, err error) bool {
	problem := secure.CertificateProblem(err)
	words, refused := secure.RefusedHere(err)
	switch {
	case secure.IsRotatedAway(err):
		f.Trouble = TroubleOldKey
		f.Words = fmt.Sprintf("%s (%s) says that the cluster's key was rotated: the one of this node does not count any more", s.Name, s.Addr)
		f.Hint = "give this node the present key: `flip key show --secret` on " + string(s.Name) + " prints it"
	case errors.Is(err, secure.ErrPeerRotatedAway):
		f.Trouble = TroubleOldKey
		f.Words = fmt.Sprintf("%s (%s) has a key that was rotated away", s.Name, s.Addr)
		f.Hint = "give it the present key: `flip key show --secret` here prints it"
	case secure.IsKeyMismatch(err):
		f.Trouble = TroubleKey
		f.Words = fmt.Sprintf("%s (%s) has another key", s.Name, s.Addr)
		f.Hint = "put the same key into the files of all nodes"
	case problem != nil:
		f.Trouble = TroubleCert
		f.Words = fmt.Sprintf("%s (%s) is not taken: %v", s.Name, s.Addr, problem)
		f.Hint = problem.Do
	case refused:
		f.Trouble = TroubleCert
		f.Words = fmt.Sprintf("%s (%s) does not take this node: %s", s.Name, s.Addr, words)
		f.Hint = "its log says why: `connection refused` with the reason `certificate`"
	default:
		return false
	}
	return true
}

// unreached puts a failed greeting into words.
func unreached(s fsm.Server, err error) Finding {
	f := Finding{Name: s.Name, Addr: s.Addr, At: time.Now(), Trouble: TroubleOther}
	_, port, splitErr := net.SplitHostPort(s.Addr)
	if splitErr != nil {
		port = s.Addr
	}
	var dns *net.DNSError
	var timeout net.Error
	if unproven(&f, s, err) {
		return f
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		f.Trouble = TroubleRefused
		f.Words = fmt.Sprintf("%s (%s) refuses TCP connections", s.Name, s.Addr)
		f.Hint = "is flip running there, with this address?"
	case errors.As(err, &dns):
		f.Trouble = TroubleName
		f.Words = fmt.Sprintf("the address of %s does not resolve: %v", s.Name, err)
		f.Hint = "write an IP address into the file, or mend the name service"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH),
		errors.As(err, &timeout) && timeout.Timeout():
		f.Trouble = TroubleSilent
		f.Words = fmt.Sprintf("%s (%s) does not answer over TCP", s.Name, s.Addr)
		f.Hint = "is the host up? firewall? flip needs TCP and UDP on " + port
	default:
		f.Words = fmt.Sprintf("%s (%s) cannot be greeted: %v", s.Name, s.Addr, err)
	}
	return f
}

// acquaintances is what is known of the other nodes.
type acquaintances struct {
	mu   sync.Mutex
	last map[fsm.MemberID]*acquaintance
}

// acquaintance is one of them: what asking it gave, and what it said of itself
// when it asked. That it asked says nothing of whether it can be reached.
type acquaintance struct{ asked, came *Finding }

func newAcquaintances() *acquaintances {
	return &acquaintances{last: make(map[fsm.MemberID]*acquaintance)}
}

// asked stores what a greeting gave and reports whether it is news.
func (a *acquaintances) asked(f Finding) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	who := a.of(f.Name)
	news := differ(who.asked, &f)
	who.asked = &f
	return news
}

// came stores what somebody else's greeting said and reports whether it is news.
func (a *acquaintances) came(f Finding) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	who := a.of(f.Name)
	news := differ(who.came, &f)
	who.came = &f
	return news
}

func (a *acquaintances) of(name fsm.MemberID) *acquaintance {
	who := a.last[name]
	if who == nil {
		who = &acquaintance{}
		a.last[name] = who
	}
	return who
}

func differ(old, f *Finding) bool {
	return old == nil || old.Trouble != f.Trouble || instanceOf(old) != instanceOf(f)
}

func instanceOf(f *Finding) string {
	if f == nil || f.Hello == nil {
		return ""
	}
	return f.Hello.Instance
}

// finding is what to say of it: that it cannot be reached comes first, then
// what is newest.
func (who *acquaintance) finding() Finding {
	switch {
	case who.asked == nil:
		return *who.came
	case who.came == nil, who.asked.Hello == nil, who.asked.At.After(who.came.At):
		return *who.asked
	default:
		return *who.came
	}
}

// all are the findings, by name.
func (a *acquaintances) all() []Finding {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Finding, 0, len(a.last))
	for _, who := range a.last {
		out = append(out, who.finding())
	}
	slices.SortFunc(out, func(x, y Finding) int { return strings.Compare(string(x.Name), string(y.Name)) })
	return out
}

// keep forgets all but some.
func (a *acquaintances) keep(servers []fsm.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.last {
		if !slices.ContainsFunc(servers, func(s fsm.Server) bool { return s.Name == name }) {
			delete(a.last, name)
		}
	}
}

// instances are those that the others last said they were.
func (a *acquaintances) instances() map[fsm.MemberID]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make(map[fsm.MemberID]string, len(a.last))
	for name, who := range a.last {
		said := who.asked
		if instanceOf(said) == "" || who.came != nil && who.came.At.After(said.At) {
			said = who.came
		}
		if i := instanceOf(said); i != "" {
			out[name] = i
		}
	}
	return out
}
