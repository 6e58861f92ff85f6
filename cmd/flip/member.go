package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/flip-ha/flip/api"
	"github.com/flip-ha/flip/client"
	"github.com/flip-ha/flip/fsm"
)

// memberWait is how long a change of the members is followed unless --wait says
// otherwise.
const memberWait = time.Minute

var memberVerbs = []string{"list", "show", "add", "remove", "promote", "demote"}

const memberUsage = "flip member list | show ID | add ID HOST:PORT | remove ID | promote ID | demote ID"

func memberCommand(a *App) *cli.Command {
	return &cli.Command{
		Name:      "member",
		Usage:     "who is a member; add, remove, promote and demote members while everything runs",
		ArgsUsage: strings.TrimPrefix(memberUsage, "flip member "),
		Description: `A node is added on any member, and started with ` + "`flip run --join`" + `, in any order.
HOST:PORT is the address at which the others reach it. It serves all systems, unless
--systems names some.

A voter has a vote and the log: 3, 5 or 7 of them bear the loss of 1, 2 or 3. An arbiter
votes and serves no system. An agent has neither vote nor log and serves its systems like
a voter: there may be any number.

A member that is removed gets nothing any more; what it has goes to others first, then
its vote, then its flip ends by itself. A dead one is removed the same way.

promote makes a voter of an agent, demote an agent of a voter, the leader too; it keeps
all that it has, and its flip runs on.

All four follow what the cluster does, for --wait at most. It goes on by itself:
Ctrl-C ends the watching alone, and ` + "`flip member show ID`" + ` says how far it has come.
They exit 1 when it is not done by then.

Examples:
  flip member list
  flip member show n4
  flip member add n4 10.0.0.4:2200
  flip member add n5 10.0.0.5:2200 --systems ip,db --priority 5
  flip member add n6 10.0.0.6:2200 --role arbiter
  flip member add n7 10.0.0.7:2200 --role agent
  flip member add n8 10.0.0.8:2200 --zone b --tag disk=ssd --tag gpu=yes --weight 2
  flip member promote n7
  flip member demote n4
  flip member remove n4
  flip member remove n4 --wait 0    ask for it, and do not wait`,
		Flags: append(socketFlags(), jsonFlag(), consistentFlag(),
			&cli.StringFlag{Name: "systems", Usage: "add: the `SYSTEMS` it serves, with commas between them (default: all)"},
			&cli.IntFlag{Name: "priority", Usage: "add: `N`, lower is preferred"},
			&cli.StringFlag{Name: "role", Usage: "add: `ROLE`, voter, arbiter or agent (default: voter)"},
			&cli.IntFlag{Name: "weight", Usage: "add: `N`, its share of each system's load, relative to the others' (default: 1)"},
			&cli.IntFlag{Name: "capacity", Usage: "add: `N`, the most that it holds of any one system (default: no limit)"},
			&cli.StringFlag{Name: "zone", Usage: "add: `ZONE`, what may fail all at once with it"},
			&cli.StringSliceFlag{Name: "tag", Usage: "add: `NAME=VALUE`, for systems to select by; more than once for several"},
			&cli.DurationFlag{Name: "wait", Value: memberWait, Usage: "add, remove, promote, demote: follow it for `TIME` at most; 0: not at all"}),
		BashComplete: a.completeMember,
		Action:       a.member,
	}
}

func (a *App) member(c *cli.Context) error {
	const usage = memberUsage
	verb, id := c.Args().First(), fsm.MemberID(c.Args().Get(1))
	args := map[string]int{"list": 1, "show": 2, "add": 3, "remove": 2, "promote": 2, "demote": 2}
	most, known := args[verb]
	switch {
	case verb == "":
		return &usageError{what: "flip member: do what?", hint: usage}
	case !known:
		hint := usage
		if near := api.Nearest(verb, memberVerbs); near != "" {
			hint = fmt.Sprintf("did you mean flip member %s? %s", near, usage)
		}
		return &usageError{what: "flip member does not know " + verb, hint: hint}
	case c.NArg() < most:
		return &usageError{what: "flip member " + verb + " wants " + map[int]string{2: "a member", 3: "a name and an address"}[most], hint: usage}
	}
	if err := atMost(c, most); err != nil {
		return err
	}
	if err := onlyForAdd(c, verb); err != nil {
		return err
	}
	cl, err := a.ask(c)
	if err != nil {
		return err
	}
	defer cl.Close()
	switch verb {
	case "list":
		return a.memberList(c, cl)
	case "show":
		return a.memberShow(c, cl, id)
	case "add":
		return a.memberAdd(c, cl, id)
	case "promote":
		return a.memberPromote(c, cl, id)
	case "demote":
		return a.memberDemote(c, cl, id)
	default:
		return a.memberRemove(c, cl, id)
	}
}

// addFlags say what a new member is like.
var addFlags = []string{"systems", "priority", "role", "weight", "capacity", "zone", "tag"}

// onlyForAdd refuses flags that the verb does not obey.
func onlyForAdd(c *cli.Context, verb string) error {
	for _, f := range addFlags {
		if c.IsSet(f) && verb != "add" {
			return &usageError{what: "flip member " + verb + " does not take --" + f, hint: "it is for flip member add"}
		}
	}
	if c.IsSet("wait") && (verb == "list" || verb == "show") {
		return &usageError{what: "flip member " + verb + " does not take --wait", hint: "it is for add, remove, promote and demote"}
	}
	if c.Duration("wait") < 0 {
		return &usageError{what: "--wait cannot be negative", hint: "--wait 2m; --wait 0 does not wait"}
	}
	return shareFlags(c, &api.MemberAdd{}) // before anybody is asked
}

// members asks who is a member.
func members(c *cli.Context, cl *client.Client) (api.Members, error) {
	ctx, cancel := context.WithTimeout(c.Context, patience(c.Bool("consistent")))
	defer cancel()
	return cl.Members(ctx, c.Bool("consistent"))
}

func (a *App) memberList(c *cli.Context, cl *client.Client) error {
	list, err := members(c, cl)
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return printJSON(a.Stdout, list)
	}
	writeMemberList(a.Stdout, a.painter(), list)
	return nil
}

func writeMemberList(w io.Writer, p painter, list api.Members) {
	t := newTable("MEMBER", "ADDRESS", "ROLE", "VOTE", "STATE", "ITEMS", "PRIORITY", "SYSTEMS")
	for _, m := range list.Members {
		colour := plain
		if m.State != api.MemberUp || len(m.Waits) > 0 {
			colour = yellow
		}
		t.add(colour, string(m.Name), or(m.Addr, "-"), or(m.Role, "-"), voteWord(m), stateWords(m), strconv.Itoa(m.Items),
			priorityWord(m.Priority), or(joinNames(m.Systems), "-"))
	}
	t.write(w, p)
	_, _ = fmt.Fprintf(w, "\n%s\n", list.Voters.Words)
	for _, m := range list.Members {
		for _, why := range m.Waits {
			_, _ = fmt.Fprintf(w, "%s: %s\n", m.Name, why)
		}
	}
}

func voteWord(m api.MemberInfo) string {
	switch {
	case m.Leader:
		return "leads"
	case m.Vote:
		return "yes"
	default:
		return "no"
	}
}

// stateWords is "up", "down, being removed".
func stateWords(m api.MemberInfo) string {
	if m.Removing {
		return m.State + ", being removed"
	}
	return m.State
}

func priorityWord(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}

func joinNames[T ~string](names []T) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}

func (a *App) memberShow(c *cli.Context, cl *client.Client, id fsm.MemberID) error {
	list, err := members(c, cl)
	if err != nil {
		return err
	}
	m, found := list.Find(id)
	switch {
	case !found:
		return noMember(list, id)
	case c.Bool("json"):
		return printJSON(a.Stdout, m)
	}
	writeMember(a.Stdout, a.painter(), m)
	return nil
}

// noMember names the nearest member, or else all.
func noMember(list api.Members, id fsm.MemberID) error {
	var names []fsm.MemberID
	for _, m := range list.Members {
		names = append(names, m.Name)
	}
	hint := "the members: " + or(joinNames(names), "none yet")
	if near := api.Nearest(string(id), names); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return &api.Error{Code: api.CodeNotFound, Message: "no member " + string(id), Hint: hint}
}

func writeMember(w io.Writer, p painter, m api.MemberInfo) {
	colour := plain
	if m.State != api.MemberUp {
		colour = yellow
	}
	t := &table{}
	t.add(bold, "member", string(m.Name))
	t.add(plain, "address", or(m.Addr, "none: it is not in the configuration any more"))
	t.add(colour, "state", stateWords(m))
	t.add(plain, "role", or(m.Role, "-"))
	t.add(plain, "vote", voteWord(m))
	t.add(plain, "systems", or(joinNames(m.Systems), "none"))
	t.add(plain, "priority", priorityWord(m.Priority))
	addShare(t, m)
	t.add(plain, "items", strconv.Itoa(m.Items))
	if m.Entries > 0 {
		t.add(yellow, "outstanding", count(m.Entries, "item", "items")+" that it may still hold")
	}
	t.add(plain, "epoch", number(uint64(m.Epoch)))
	t.add(plain, "instance", or(m.Instance, "-"))
	for i, why := range m.Waits {
		t.add(yellow, map[bool]string{true: "not yet"}[i == 0], why)
	}
	t.write(w, p)
}

// completeMember offers the verbs, then the members, and systems to --systems.
func (a *App) completeMember(c *cli.Context) {
	switch {
	case c.NArg() == 0:
		a.offer(memberVerbs)
	case c.NArg() == 1:
		switch c.Args().First() {
		case "show", "remove":
			a.offer(a.memberNames(c))
		case "promote":
			a.offer(a.memberNames(c, fsm.RoleAgent))
		case "demote":
			a.offer(a.memberNames(c, fsm.RoleVoter))
		}
	}
}

// memberNames are the members, or those of some roles; a daemon that does not answer
// offers nothing.
func (a *App) memberNames(c *cli.Context, roles ...fsm.Role) []string {
	cl, err := a.ask(c)
	if err != nil {
		return nil
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.Context, completeTimeout)
	defer cancel()
	list, _ := cl.Members(ctx, false)
	var names []string
	for _, m := range list.Members {
		if len(roles) == 0 || slices.ContainsFunc(roles, func(r fsm.Role) bool { return r.String() == m.Role }) {
			names = append(names, string(m.Name))
		}
	}
	return names
}
