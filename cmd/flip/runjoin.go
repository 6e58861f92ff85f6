package main

import (
	"cmp"
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

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/config"
	"github.com/flip-ha/flip/fsm"
	"github.com/flip-ha/flip/secure"
)

const (
	// joinEvery is how often a node that waits asks, joinWait how long it waits for
	// an answer.
	joinEvery = time.Second
	joinWait  = 900 * time.Millisecond
	// takenFor is how long a name may be taken before this node gives up: the one
	// that has it may have been stopped a moment ago. The slowest timing calls it
	// down after 3.3 s.
	takenFor = 10
	// mostAsked bounds whom one question goes to.
	mostAsked = 16
)

// errNotJoined ends a node that is told to stop while it waits to be added.
var errNotJoined = errors.New("told to stop before this node was added to a cluster")

// joinAddresses reads --join.
func joinAddresses(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	var out []string
	for _, addr := range strings.Split(text, ",") {
		addr = strings.TrimSpace(addr)
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			return nil, &usageError{
				what: fmt.Sprintf("--join: %q is no HOST:PORT", addr),
				hint: "the address of any member, as `flip member list` shows it; several with commas between them",
			}
		}
		out = append(out, addr)
	}
	return out, nil
}

// origin is where a node's first configuration comes from.
type origin struct {
	join  []string // of --join
	seed  *seed    // what it has joined with; nil: it has not
	noted bool     // the seed was in the data directory at the start
	file  bool     // the file says it
}

// readNode reads the file of a node. One that joins, or has joined, need not say
// what its cluster has agreed on.
func (a *App) readNode(name, id string, from *origin, at func(*config.File) paths) (*config.File, error) {
	file, strict := readFile(name, id)
	if strict != nil {
		var err error
		switch file, err = readFileAs(name, id, true); {
		case err != nil && from.join != nil:
			return nil, err
		case err != nil:
			return nil, strict
		}
		file.Spec.Servers, file.Spec.Systems = nil, nil // they are not of this node's cluster
	}
	var err error
	if from.seed, err = readSeed(at(file).data); err != nil {
		return nil, err
	}
	from.noted = from.seed != nil
	if strict != nil && from.join == nil && from.seed == nil {
		return nil, hinted{strict, "to join a cluster that runs: flip run --join HOST:PORT, the address of any member"}
	}
	return file, nil
}

// readAsRun reads the file as the daemon of a node that has joined would: what it
// does not say is noted in the data directory.
func (a *App) readAsRun(c *cli.Context, name, id string) (*config.File, error) {
	file, err := readFile(name, id)
	if err == nil {
		return file, nil
	}
	from := origin{}
	joined, noSeed := a.readNode(name, id, &from, func(f *config.File) paths { return a.paths(c, name, f) })
	if noSeed != nil || from.seed == nil {
		return file, err
	}
	joined.Spec = from.seed.spec
	return joined, nil
}

// settle decides what this node begins with: what it has joined with before, what
// the cluster says that it is to join, or else its file.
func (d *daemon) settle(ctx context.Context) error {
	empty, err := d.store.Empty()
	if err != nil {
		return err
	}
	if len(d.from.join) > 0 && (empty || d.from.seed != nil) {
		peers := newPeers(d.as, d.learnKey)
		defer peers.client.Close()
		defer d.watchCertificates(ctx)()
		j := newJoiner(d, peers.client)
		if err := j.run(ctx, empty); err != nil {
			return err
		}
		d.from.seed = j.seed
	}
	named := len(d.file.Spec.Servers) > 0
	switch {
	case d.from.seed == nil && !named:
		return hinted{
			fmt.Errorf("%s has the data of a cluster, but neither the file nor the directory says which servers it has", d.paths.data),
			"give the file the cluster's servers and systems",
		}
	case d.from.seed == nil:
		d.from.file = true
		return nil
	}
	if _, named := d.from.seed.spec.Servers[d.self.Name]; !named {
		return fmt.Errorf("what is noted in %s does not name %s: is --id right?", d.paths.data, d.self.Name)
	}
	file := *d.file
	file.Spec = d.from.seed.spec
	d.file = &file
	return nil
}

// joiner asks members whether its node was added.
type joiner struct {
	mine  api.Join
	given []string
	ask   func(ctx context.Context, addr string, mine api.Join) (api.Joined, error)
	save  func(seed) error
	say   func(words, hint string)                      // when it changes
	wait  func(context.Context) (leave func(), _ error) // from the first round in vain on
	every time.Duration
	log   zerolog.Logger

	seed   *seed
	others []string // whom members have named
	words  string   // what was said last
	taken  int      // rounds in a row
}

func newJoiner(d *daemon, peers *client.Peers) *joiner {
	w := &waitingRoom{d: d}
	return &joiner{
		mine: api.Join{
			Name: d.self.Name, Instance: d.self.Instance, Version: thisVersion().Version, Wire: wireVersions, Cluster: d.belongsTo(),
		},
		given: d.from.join, seed: d.from.seed, every: joinEvery, log: d.log,
		ask: func(ctx context.Context, addr string, mine api.Join) (api.Joined, error) {
			got, err := peers.Join(ctx, client.Target{Addr: addr}, mine)
			if err == nil {
				d.learnKey(ctx, got.Cluster, got.Keys)
			}
			return got, err
		},
		save: func(s seed) error { return s.write(d.paths.data) },
		say:  w.say,
		wait: w.open,
	}
}

// belongsTo is the cluster that this node is of already; "": of none. An agent has
// noted that in its seed alone, since it has no log.
func (d *daemon) belongsTo() string {
	if s := d.from.seed; d.store.Cluster() == "" && s != nil && s.spec.Servers[d.self.Name].Role == fsm.RoleAgent {
		return s.cluster
	}
	return d.store.Cluster()
}

// run asks until this node has a seed. With one already it asks once, so as not to
// begin with an old one, or with that of another cluster; without an answer it
// goes on. Without data of its own (empty) it follows the answer in any case.
func (j *joiner) run(ctx context.Context, empty bool) error {
	for first := true; ; first = false {
		r := j.round(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", errNotJoined, context.Cause(ctx))
		}
		if err := j.judge(r, empty); err != nil || j.seed != nil {
			return err
		}
		if first {
			leave, err := j.wait(ctx)
			if err != nil {
				return err
			}
			defer leave()
		}
		timer := time.NewTimer(j.every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", errNotJoined, context.Cause(ctx))
		}
	}
}

// answered is what one member said.
type answered struct {
	addr string
	api.Joined
	err error
}

// round asks all that are known, at once, and waits for all.
func (j *joiner) round(ctx context.Context) []answered {
	ctx, cancel := context.WithTimeout(ctx, joinWait)
	defer cancel()
	whom := slices.Clone(j.given)
	for _, addr := range j.others {
		if !slices.Contains(whom, addr) && len(whom) < mostAsked {
			whom = append(whom, addr)
		}
	}
	out := make([]answered, len(whom))
	var wg sync.WaitGroup
	for i, addr := range whom {
		wg.Go(func() {
			got, err := j.ask(ctx, addr, j.mine)
			out[i] = answered{addr, got, err}
		})
	}
	wg.Wait()
	return out
}

// judge draws from one round: the newest answer counts. It sets the seed, or says
// what this node waits for; an error ends it.
func (j *joiner) judge(r []answered, empty bool) error {
	slices.SortStableFunc(r, func(a, b answered) int { return cmp.Compare(b.Index, a.Index) })
	i := slices.IndexFunc(r, func(a answered) bool { return a.err == nil })
	if i < 0 {
		return j.unanswered(r)
	}
	newest := r[i]
	j.taken = 0
	if len(newest.Others) > 0 {
		j.others = newest.Others
	}
	mine := j.mine.Cluster
	if mine == "" && j.seed != nil && !empty {
		mine = j.seed.cluster
	}
	switch {
	case mine != "" && newest.Cluster != "" && mine != newest.Cluster:
		return hinted{
			fmt.Errorf("join: the data directory belongs to cluster %s, and at %s is cluster %s", mine, newest.addr, newest.Cluster),
			"give --join an address of the cluster it belongs to; to leave that, move the data directory away",
		}
	case newest.Named:
		return j.take(newest)
	case j.seed != nil && !empty: // the log says what has become of it
		return nil
	case j.seed != nil && newest.Index < j.seed.spec.Version && j.seed.cluster == newest.Cluster:
		return nil // what it says is older
	case newest.Cluster == "":
		j.seed = nil
		j.tell(fmt.Sprintf("waiting: the cluster at %s is not founded yet", newest.addr), "`flip status` there says what it waits for")
	case newest.Removing:
		j.seed = nil
		j.tell(fmt.Sprintf("waiting: a member %s is being removed from cluster %s", j.mine.Name, newest.Cluster),
			fmt.Sprintf("`flip member show %s` on a member says what that waits for; then: flip member add %s HOST:PORT", j.mine.Name, j.mine.Name))
	default:
		j.seed = nil
		j.tell(fmt.Sprintf("waiting for `flip member add %s HOST:PORT` on any member", j.mine.Name),
			fmt.Sprintf("cluster %s; HOST:PORT is the address of this machine at which the others shall reach it", newest.Cluster))
	}
	return nil
}

// take begins with what a member said.
func (j *joiner) take(a answered) error {
	s, err := decodeSeed(a.Spec)
	if err != nil {
		return hinted{fmt.Errorf("join by way of %s: %w", a.addr, err), "upgrade the older of the two nodes"}
	}
	if j.seed != nil && j.seed.cluster == s.cluster && j.seed.spec.Version >= s.spec.Version {
		return nil
	}
	if err := j.save(*s); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	j.seed = s
	j.log.Info().Str("id", string(j.mine.Name)).Str("cluster", s.cluster).Str("by", a.addr).
		Str("addr", s.spec.Servers[j.mine.Name].Addr).Msg("this node was added to a cluster")
	return nil
}

// unanswered is a round in which nobody said whether this node was added.
func (j *joiner) unanswered(r []answered) error {
	var words []string
	otherKey, oldKey := false, false
	for _, a := range r {
		if api.CodeOf(a.err) == api.CodeTaken {
			return j.isTaken(a)
		}
		otherKey = otherKey || secure.IsKeyMismatch(a.err)
		oldKey = oldKey || secure.IsRotatedAway(a.err)
		words = append(words, a.addr+" "+unjoined(a.err))
	}
	if j.seed != nil {
		return nil
	}
	if oldKey {
		return hinted{fmt.Errorf("join: %s", strings.Join(words, "; ")), "`flip key show --secret` on a member prints the present key: put it into this node's file"}
	}
	if otherKey {
		return hinted{fmt.Errorf("join: %s", strings.Join(words, "; ")), "give this node the key of the cluster: `key` or `key_file` in its file"}
	}
	j.taken = 0
	j.tell("waiting: no member answers: "+strings.Join(words, "; "), "is flip running there? firewall? flip needs TCP and UDP on its port")
	return nil
}

// isTaken bears with another node of this name for a while.
func (j *joiner) isTaken(a answered) error {
	var e *api.Error
	errors.As(a.err, &e)
	if j.taken++; j.taken >= takenFor || j.seed != nil {
		return hinted{fmt.Errorf("join: %w", e), e.Hint}
	}
	j.tell("waiting: "+e.Message, e.Hint)
	return nil
}

func (j *joiner) tell(words, hint string) {
	if words == j.words {
		return
	}
	j.words = words
	j.say(words, hint)
}

// unjoined puts a question that failed into words.
func unjoined(err error) string {
	var timeout net.Error
	var broken *net.OpError
	words, refused := secure.RefusedHere(err)
	switch {
	case secure.IsRotatedAway(err):
		return "says that the cluster's key was rotated, and this node has the old one"
	case errors.Is(err, secure.ErrPeerRotatedAway):
		return "has a key that was rotated away"
	case secure.IsKeyMismatch(err):
		return "has another key"
	case secure.CertificateProblem(err) != nil:
		return "cannot be asked: " + secure.CertificateProblem(err).Error()
	case refused:
		return "cannot be asked: " + words
	case api.CodeOf(err) == api.CodeNotFound:
		return "runs an older flip, which cannot do that: upgrade it"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses TCP connections"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "does not answer"
	case errors.As(err, &broken): // without the port of this side, which is another one each time
		return fmt.Sprintf("cannot be asked: %s: %v", broken.Op, broken.Err)
	default:
		return fmt.Sprintf("cannot be asked: %v", err)
	}
}
