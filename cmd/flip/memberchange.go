package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// memberLook is how often a change that is followed is looked at.
const memberLook = 200 * time.Millisecond

func (a *App) memberAdd(c *cli.Context, cl *client.Client, id fsm.MemberID) error {
	what := api.MemberAdd{Name: id, Addr: c.Args().Get(2), Role: c.String("role")}
	for _, name := range strings.Split(c.String("systems"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			what.Systems = append(what.Systems, fsm.SystemID(name))
		}
	}
	if c.IsSet("systems") && len(what.Systems) == 0 {
		return &usageError{what: "--systems names none", hint: "leave it out for all systems; a member that serves none is an arbiter: --role arbiter"}
	}
	if c.IsSet("priority") {
		n := c.Int("priority")
		what.Priority = &n
	}
	if err := shareFlags(c, &what); err != nil {
		return err
	}
	stop, release := interrupted(c.Context)
	defer release()
	ctx, cancel := context.WithTimeout(stop, changeTimeout)
	defer cancel()
	done, err := cl.AddMember(ctx, what)
	if err != nil {
		return err
	}
	m := done.Member
	return a.follow(stop, c, cl, change{
		MemberChanged: done, step: addStep, over: fmt.Sprintf("%s is a member.", m.Name),
		agreed: fmt.Sprintf("Agreed on at index %d: %s at %s is to be a member, %s, serving %s.", done.Index, m.Name, m.Addr, m.Role, or(joinNames(m.Systems), "nothing")),
	})
}

func (a *App) memberRemove(c *cli.Context, cl *client.Client, id fsm.MemberID) error {
	stop, release := interrupted(c.Context)
	defer release()
	ctx, cancel := context.WithTimeout(stop, changeTimeout)
	defer cancel()
	done, err := cl.RemoveMember(ctx, api.MemberRemove{Name: id})
	if err != nil {
		return err
	}
	return a.follow(stop, c, cl, change{
		MemberChanged: done, step: removeStep, over: fmt.Sprintf("%s is removed: it is no member any more.", id),
		agreed: fmt.Sprintf("Agreed on at index %d: %s is to be removed.", done.Index, id),
	})
}

func (a *App) memberPromote(c *cli.Context, cl *client.Client, id fsm.MemberID) error {
	stop, release := interrupted(c.Context)
	defer release()
	ctx, cancel := context.WithTimeout(stop, changeTimeout)
	defer cancel()
	done, err := cl.PromoteMember(ctx, api.MemberPromote{Name: id})
	if err != nil {
		return err
	}
	agreed := fmt.Sprintf("Agreed on at index %d: %s is to have a vote, as %s.", done.Index, id, done.Member.Role)
	if done.Member.Vote {
		agreed = fmt.Sprintf("%s votes already, as %s.", id, done.Member.Role)
	}
	return a.follow(stop, c, cl, change{MemberChanged: done, step: addStep, over: fmt.Sprintf("%s has its vote.", id), agreed: agreed})
}

func (a *App) memberDemote(c *cli.Context, cl *client.Client, id fsm.MemberID) error {
	stop, release := interrupted(c.Context)
	defer release()
	ctx, cancel := context.WithTimeout(stop, changeTimeout)
	defer cancel()
	done, err := cl.DemoteMember(ctx, api.MemberDemote{Name: id})
	if err != nil {
		return err
	}
	return a.follow(stop, c, cl, change{
		MemberChanged: done, step: demoteStep, over: fmt.Sprintf("%s is an agent: it has no vote any more.", id),
		agreed: fmt.Sprintf("Agreed on at index %d: %s is to be an agent, and keeps what it has.", done.Index, id),
	})
}

// interrupted ends what it returns when somebody has seen enough.
func interrupted(parent context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
}

// change is a change of the members that is agreed on and under way.
type change struct {
	api.MemberChanged
	agreed, over string
	// step is how far it has come, in words.
	step func(m api.MemberInfo, found bool) (words string, done bool)
}

// follow shows what the cluster does about a change, until it is done, the time is
// over, or nobody wants to see it any more.
func (a *App) follow(stop context.Context, c *cli.Context, cl *client.Client, ch change) error {
	quiet := c.Bool("json")
	p := &progress{w: a.Stdout, rewrites: isTerminal(a.Stdout) && a.Env("TERM") != "dumb", quiet: quiet}
	for _, warning := range ch.Warnings {
		_, _ = fmt.Fprintln(a.Stderr, "flip: warning: "+warning)
	}
	p.line(ch.agreed)
	limit := c.Duration("wait")
	if limit == 0 {
		if quiet {
			return printJSON(a.Stdout, ch.MemberChanged)
		}
		p.line(fmt.Sprintf("The cluster does the rest by itself: `flip member show %s` says how far it is.", ch.Member.Name))
		return nil
	}
	ctx, cancel := context.WithTimeout(stop, limit)
	defer cancel()
	last, done := watchMember(ctx, cl, ch, p)
	p.end()
	if quiet {
		ch.Member = last
		if err := printJSON(a.Stdout, ch.MemberChanged); err != nil {
			return err
		}
	}
	switch {
	case done:
		p.line(ch.over)
		return nil
	case stop.Err() != nil:
		_, _ = fmt.Fprintln(a.Stderr, "flip: not watched any more; the cluster goes on by itself")
	default:
		_, _ = fmt.Fprintf(a.Stderr, "flip: not done within %s; the cluster goes on by itself\n", spoken(limit.Milliseconds()))
	}
	_, _ = fmt.Fprintf(a.Stderr, "  flip member show %s\n", ch.Member.Name)
	return verdict(exitFailed)
}

// watchMember looks again and again, and reports the newest it has seen and whether
// all is done. A daemon that does not answer for a moment may be asked again.
func watchMember(ctx context.Context, cl *client.Client, ch change, p *progress) (last api.MemberInfo, done bool) {
	last = ch.Member
	tick := time.NewTicker(memberLook)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, answerTimeout)
		list, err := cl.Members(one, false)
		cancel()
		switch {
		case ctx.Err() != nil:
			return last, false
		case err != nil:
			p.step(unseen(err))
		default:
			m, found := list.Find(ch.Member.Name)
			if found {
				last = m
			}
			words, over := ch.step(m, found)
			if over {
				return last, true
			}
			p.step(or(words, "it is looked at"))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, false
		}
	}
}

func unseen(err error) string {
	var known *api.Error
	if errors.As(err, &known) && known.Code == api.CodeNoDaemon {
		return "this node's daemon does not answer"
	}
	return err.Error()
}

// addStep is how far a new member, or a new voter, has come.
func addStep(m api.MemberInfo, found bool) (string, bool) {
	if !found {
		return "it is not among the members: somebody has removed it", false
	}
	if m.Removing {
		return "it is being removed again", false
	}
	return strings.Join(m.Waits, "; "), len(m.Waits) == 0 && (m.Vote || isAgent(m))
}

func isAgent(m api.MemberInfo) bool { return m.Role == fsm.RoleAgent.String() }

// demoteStep is how far a voter has come that is to be an agent.
func demoteStep(m api.MemberInfo, found bool) (string, bool) {
	switch {
	case !found:
		return "it is not among the members: somebody has removed it", false
	case m.Removing:
		return "it is being removed", false
	case !isAgent(m):
		return "it is to have a vote again", false
	default:
		return strings.Join(m.Waits, "; "), !m.Vote
	}
}

// removeStep is how far a removal has come.
func removeStep(m api.MemberInfo, found bool) (string, bool) {
	return strings.Join(m.Waits, "; "), !found
}
