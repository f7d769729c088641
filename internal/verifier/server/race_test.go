// SPDX-FileCopyrightText: The apikey-manager Authors
// SPDX-License-Identifier: Apache-2.0

//go:build race

package server_test

const raceEnabled = true
