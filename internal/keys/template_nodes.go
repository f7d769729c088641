// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"fmt"
	"text/template/parse"
)

// writeFunction names the function that is called for every text and every action. Templates can't call it by name.
const writeFunction = "write"

var (
	errRange    = errors.New("range is available over .Scopes and .Metadata only, and not within another range")
	errTemplate = errors.New("template is not available")
)

// ranges holds the values of a template that a range can visit.
type ranges struct {
	// lengths holds the number of elements of each value, by which the operations in the body of a range are multiplied.
	lengths map[string]int
	// errRange refuses a range over another value. errOperations refuses a template that takes too many steps.
	errRange, errOperations error
}

// visit describes how a rendering reaches a node.
type visit struct {
	// weight holds the number of times.
	weight int
	// depth holds the number of nodes in which the node is nested.
	depth   int
	inRange bool
}

// admit counts the nodes that a rendering can visit below a node, and returns an error with the position if there are
// too many. Range is allowed over values whose length is known only, and not nested, so that no rendering visits more
// nodes than are counted.
func (c *compiledTemplate) admit(tree *parse.Tree, node parse.Node, v visit) error {
	v.depth++
	switch c.operations += v.weight * steps(node); {
	case c.operations > maxOperations:
		return at(tree, node, c.ranges.errOperations)
	case v.depth > maxDepth:
		return at(tree, node, errDepth)
	}
	switch n := node.(type) {
	case *parse.ListNode:
		return c.admitList(tree, n, v)
	case *parse.ActionNode:
		return c.admit(tree, n.Pipe, v)
	case *parse.PipeNode:
		if err := admitAll(c, tree, n.Decl, v); err != nil {
			return err
		}
		return admitAll(c, tree, n.Cmds, v)
	case *parse.CommandNode:
		return admitAll(c, tree, n.Args, v)
	case *parse.ChainNode:
		return c.admit(tree, n.Node, v)
	case *parse.IfNode:
		return c.admitBranch(tree, &n.BranchNode, v, v)
	case *parse.WithNode:
		return c.admitBranch(tree, &n.BranchNode, v, v)
	case *parse.RangeNode:
		length := c.rangeLength(n.Pipe)
		if v.inRange || length == 0 {
			return at(tree, n, c.ranges.errRange)
		}
		return c.admitBranch(tree, &n.BranchNode, v, visit{weight: length, depth: v.depth, inRange: true})
	case *parse.TemplateNode:
		return at(tree, n, errTemplate)
	}
	return nil
}

// rangeLength returns the number of elements that a range over the value of a pipeline visits, or 0 if range is not
// available for it.
func (c *compiledTemplate) rangeLength(pipe *parse.PipeNode) int {
	if len(pipe.Cmds) != 1 || len(pipe.Cmds[0].Args) != 1 {
		return 0
	}
	return c.ranges.lengths[pipe.Cmds[0].Args[0].String()]
}

// steps returns the number of operations for a node: one, plus one for each name in .a.b.c.
func steps(node parse.Node) int {
	switch n := node.(type) {
	case *parse.FieldNode:
		return len(n.Ident)
	case *parse.VariableNode:
		return len(n.Ident)
	case *parse.ChainNode:
		return 1 + len(n.Field)
	}
	return 1
}

func admitAll[N parse.Node](c *compiledTemplate, tree *parse.Tree, nodes []N, v visit) error {
	for _, n := range nodes {
		if err := c.admit(tree, n, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiledTemplate) admitBranch(tree *parse.Tree, n *parse.BranchNode, v, body visit) error {
	if err := c.admit(tree, n.Pipe, v); err != nil {
		return err
	}
	if err := c.admit(tree, n.List, body); err != nil || n.ElseList == nil {
		return err
	}
	return c.admit(tree, n.ElseList, v)
}

// admitList replaces the texts and actions of a list by calls of writeFunction, and admits them.
func (c *compiledTemplate) admitList(tree *parse.Tree, list *parse.ListNode, v visit) error {
	for i, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.TextNode:
			text := &parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Text: string(n.Text)}
			pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Pos, Cmds: []*parse.CommandNode{callOfWrite(n.Pos, text)}}
			list.Nodes[i] = &parse.ActionNode{NodeType: parse.NodeAction, Pos: n.Pos, Pipe: pipe}
		case *parse.ActionNode:
			if len(n.Pipe.Decl) == 0 {
				n.Pipe.Cmds = append(n.Pipe.Cmds, callOfWrite(n.Pos))
			}
		}
		if err := c.admit(tree, list.Nodes[i], v); err != nil {
			return err
		}
	}
	return nil
}

func callOfWrite(pos parse.Pos, args ...parse.Node) *parse.CommandNode {
	name := parse.NewIdentifier(writeFunction).SetPos(pos)
	return &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: append([]parse.Node{name}, args...)}
}

// at adds the entry, line and column of a node to an error.
func at(tree *parse.Tree, node parse.Node, err error) error {
	location, _ := tree.ErrorContext(node)
	return fmt.Errorf("template: %s: %w", location, err)
}
