// The states of a rotation, as a table.

package upstream

// phase is the state of a rotation.
type phase uint8

const (
	phaseUnread      phase = iota // no secret was read
	phaseSteady                   // requests use the configured secret
	phaseUntried                  // requests use the one before it; the server has not judged the configured one
	phaseTrying                   // the same, and a login with the configured one is under way in the background
	phaseRefused                  // requests use the one before it; the server refuses the configured one
	phaseNext                     // requests use next_password; the server refuses the configured secret
	phaseNextUntried              // requests use next_password; the configured secret has changed since
	phaseNextTrying               // the same, and a login with the configured one is under way in the background
	phases
)

// event is what happens to a rotation.
type event uint8

const (
	eventReadCurrent  event = iota // the secret that was read is the one that requests use
	eventReadOther                 // it is another one, and the session in use can go on meanwhile
	eventReadAlone                 // it is another one, and no session can go on; or it is another user's
	eventAdopted                   // the first secret that was read is another one than that of a session from before a reload
	eventAdoptedNext               // the same, and that session is of next_password
	eventBegun                     // a login with the configured secret has begun in the background
	eventEnded                     // it has ended
	eventAccepted                  // the server accepts the configured secret
	eventRefused                   // the server refuses the configured secret
	eventNextAccepted              // the server accepts next_password
	eventLost                      // the session in use has ended for good, and the configured secret is on hold

)

// action is what a rotation does at a transition.
type action uint8

const (
	actionNone    action = iota
	actionUse            // requests use the configured secret
	actionUseNext        // requests use next_password
	actionKeep           // the secret of the session in use is not sent any more
)

type transition struct {
	to phase
	do action
}

// transitions is the machine: what an event leads to. Every other event changes nothing. After
// each change of the configured secret, and at each look of the watcher, it is tried in
// the background if the phase is untried and nothing else is being tried.
var transitions = [phases]map[event]transition{
	phaseUnread: {
		eventReadAlone:   {phaseSteady, actionUse},
		eventAdopted:     {phaseUntried, actionKeep},
		eventAdoptedNext: {phaseNextUntried, actionNone},
	},
	phaseSteady: {
		eventReadOther:    {phaseUntried, actionKeep},
		eventReadAlone:    {phaseSteady, actionUse},
		eventNextAccepted: {phaseNext, actionUseNext},
	},
	phaseUntried: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadAlone:    {phaseSteady, actionUse},
		eventBegun:        {phaseTrying, actionNone},
		eventAccepted:     {phaseSteady, actionUse},
		eventRefused:      {phaseRefused, actionNone},
		eventNextAccepted: {phaseNextUntried, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
	phaseTrying: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadOther:    {phaseUntried, actionNone},
		eventReadAlone:    {phaseSteady, actionUse},
		eventEnded:        {phaseUntried, actionNone},
		eventAccepted:     {phaseSteady, actionUse},
		eventRefused:      {phaseRefused, actionNone},
		eventNextAccepted: {phaseNextTrying, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
	phaseRefused: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadOther:    {phaseUntried, actionNone},
		eventReadAlone:    {phaseSteady, actionUse},
		eventAccepted:     {phaseSteady, actionUse},
		eventNextAccepted: {phaseNext, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
	phaseNext: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadOther:    {phaseNextUntried, actionNone},
		eventReadAlone:    {phaseSteady, actionUse},
		eventAccepted:     {phaseSteady, actionUse},
		eventNextAccepted: {phaseNext, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
	phaseNextUntried: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadAlone:    {phaseSteady, actionUse},
		eventBegun:        {phaseNextTrying, actionNone},
		eventAccepted:     {phaseSteady, actionUse},
		eventRefused:      {phaseNext, actionNone},
		eventNextAccepted: {phaseNextUntried, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
	phaseNextTrying: {
		eventReadCurrent:  {phaseSteady, actionUse},
		eventReadOther:    {phaseNextUntried, actionNone},
		eventReadAlone:    {phaseSteady, actionUse},
		eventEnded:        {phaseNextUntried, actionNone},
		eventAccepted:     {phaseSteady, actionUse},
		eventRefused:      {phaseNext, actionNone},
		eventNextAccepted: {phaseNextTrying, actionUseNext},
		eventLost:         {phaseSteady, actionUse},
	},
}

// order is which secrets a request without a token tries, one after the other.
type order uint8

const (
	orderConfigured order = iota // the configured one only
	orderInUse                   // the session in use, then the configured one
	orderInUseLast               // the configured one, then the session in use
)

var orders = [phases]order{
	phaseUntried: orderInUseLast, phaseTrying: orderInUseLast,
	phaseRefused: orderInUse, phaseNext: orderInUse, phaseNextUntried: orderInUse, phaseNextTrying: orderInUse,
}
