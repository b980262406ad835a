#!/usr/bin/env python3
"""An executable model of the core: creates, judgement of rows, settle and deletes, in simulated time.

    core_model.py [SCHEDULES] [SEED]   runs random schedules, prints examples of broken promises and one summary line
        --only SEED        runs one schedule and prints everything that happens in it
        --control NAME     breaks one decision on purpose; every control must find broken promises (see CONTROLS)
        --without A,B      leaves rules out; each rule that stays in the design must be missed (see RULES)
        --modes k=v,...    pins settings that are otherwise drawn (see Settings), for example kind=fresh,lam=40
        --focus            takes the settings in which the need for the control or rule is likely (see FOCUS)
        --first            stops at the first schedule with a broken promise
        --jobs N           runs the schedules in N processes
        --table            for each rule and each control: after how many schedules its loss breaks a promise

How to read it. World holds a service, an authorization back end, one journal, up to three sidecar processes, clients
and time. Generators are tasks: they yield a number to sleep, or a Future to wait for. `yield from w.J(p, f)` is one
transaction of the journal: f runs at one instant, some time after it was asked for and some time before the asker
hears of it, and it does not run if the asker has died or has been taken over. A process may die or pause at any yield.

The world knows who really made each row. The sidecar never looks at that: Row.maker, Row.acked, Row.by, w.truth and
the calls of w.broken are for checks only. No function of the sidecar reads a clock of another party.

The decisions are pure functions at the top: `newness`, `judge_row`, `settle_step`, `may_mean`, `until`, `trusted`.
CORE.md explains them; this file is where a change of them is tried first."""
import heapq, math, multiprocessing, random, sys
from collections import Counter

INF = float('inf')

RULES = {   # `--without NAME` leaves the rule out
    'one_id': 'An id that is committed or condemned refuses everybody who comes second.',
    'found_503': 'A found row is answered with 503 while an unresolved create may have made it.',
    'replay': 'A create with a replay key is never proven new, and a row that it may have made is never condemned.',
    'unenforced': 'Unless ids are always fresh, a row is proven new only if no create without enforcement may have made it.',
    'stood_before': 'A record makes an id found only if the id stood before this create was sent.',
    'doubt': 'An id is unproven, not found, while a delete that may mean it is open or closed too recently.',
    'record_all': 'A bypassed create that cannot be recorded is refused.',
    'trust_now': 'While the type is not trusted, only answers of services whose ids are always fresh are undone.',
    'trust_kept': 'A condemned id is reported instead, unless ids are always fresh, when the trust in its type is lost.',
    'confirm': 'An unproven row is confirmed, lambda after the intent, before the 2xx.',
    'gone': 'An id that was proven gone is remembered as gone for L + lambda, and a list that shows it proves nothing.',
    'wait_in_flight': 'A free row waits while one of its makers is in flight.',
    'own_target': "A maker's own list must show the row.",
    'seen_before': 'A row is judged in a later pass than the one that first listed it, by lists that began lambda later.',
    'before': 'A create whose list before shows the row is not its maker.',
    'third': 'A list of several pages needs three equal readings, not two.',
    'late_end': 'An unknown create ends only with a list that was asked L + lambda after it closed.',
    'blind': 'A create that ends without knowing its row stays a maker without enforcement.',
    'trust': 'Rows are condemned by a list only if the type was trusted L + lambda before every list before.',
    'made': 'Gone counts only when asked after `made`.',
    'removed': 'There counts only when asked after `removed`.',
    'release': 'An id is not released while a deregistration or DELETE without answer may still land.',
    'look_after': 'A create looks for deletes after `registered`.',
    'pass_looks': 'Except under always, a create that is passed on looks for deletes, too.',
    'replay_fields': 'What a create with a replay key says of its row contradicts nothing.',
    'target': "A delete by id always has the path's id as target.",
    'delete_looks': 'A delete looks for creates that it may mean, after it is recorded and at its last look.',
    'complete_delete': 'A delete by name is refused unsent unless its list is complete.',
    'since_list': 'A delete by name looks for creates since its list began, not since it was recorded.',
    'refuse_named': 'A create that may mean a condemned id, or one that is being deleted, is refused unsent.',
    'come_back': 'Where ids come back, an id is condemned only if no create without enforcement may mean it.',
    'came_back': 'A row that is there after a delete is reported if an unresolved create may have made it again.',
    'keep': 'A delete, or a create that knows its row, is kept while a create prepared before it may be forgotten is unresolved.',
}
CONTROLS = {    # `--control NAME`: ways to be wrong that have nothing to do with a single rule
    'enqueue': 'committed is only enqueued while the registration is sent.',
    'at_once': 'made and removed are the instants at which requests closed, without L and lambda.',
    'eager': 'A row is condemned although some of its makers are not enforced.',
    'forget': 'Everything is forgotten as soon as it has ended.',
    'answer_first': 'The client hears 2xx before registered is durable.',
}


FOCUS = {       # where the table looks for a rule that is rarely needed: settings that make the need likely
    'trust_kept': 'kind=chosen,proof_c=status,exclusive=1,observer=1,full=.2,processes=2',
    'confirm': 'kind=replay,keeps_owner=1,exclusive=1,sees_all=1,lists=1',
    'wait_in_flight': 'kind=fresh,proof_f=always,exclusive=1,sees_all=1,lists=1,names=1,parents=1,page=1000,exch=90',
    'own_target': 'kind=fresh,proof_f=always,exclusive=1,sees_all=1,lists=1,names=1,parents=2,horizon=3',
    'seen_before': 'kind=fresh,proof_f=always,exclusive=1,sees_all=1,lists=1,names=1,parents=1,bypass=.3,exch=3',
    'trust': 'kind=fresh,proof_f=always,exclusive=1,sees_all=1,lists=1,observer=1,full=.2,names=1,parents=1,page=1000',
    'trust_now': 'kind=chosen,exclusive=0',
    'release': 'kind=chosen,exclusive=1,names=1,parents=1',
    'gone': 'kind=chosen,proof_c=listed,exclusive=1,lists=1,sees_all=1,names=1,parents=1,max_age=50,keeps_owner=0,bypass=0,observer=0,faults=.6',
    'third': 'kind=fresh,proof_f=always,exclusive=1,lists=1,sees_all=1,names=2,parents=1,page=1,new_first=1,lam=40,horizon=1,bypass=0',
    'come_back': 'kind=revive,proof_v=status,exclusive=1,bypass=.3,names=1,parents=1',
    'came_back': 'kind=chosen,proof_c=status,exclusive=1,bypass=.3,names=1,parents=1',
    'pass_looks': 'kind=revive,proof_v=status,exclusive=1,names=1,parents=1,bypass=.3',
    'replay_fields': 'kind=replay,keeps_owner=1,exclusive=1,names=2,parents=1',
    'unenforced': 'kind=upsert,proof_u=listed,exclusive=1,side=.2,lists=1,sees_all=1,names=1,parents=1',
    'enqueue': 'kind=fresh,proof_f=always,exclusive=1,crash=.02,names=1,parents=1',
    'answer_first': 'kind=fresh,proof_f=always,exclusive=1,crash=.02',
}


class Future:
    """A value that arrives once."""
    def __init__(s): s.done, s.value, s.waiters = False, None, []
    def set(s, v):
        if s.done: return False
        s.done, s.value = True, v
        for wake in s.waiters: wake(v)
        return True


class Rec:
    """A record."""
    def __init__(s, **kw): s.__dict__.update(kw)
    def copy(s): return Rec(**s.__dict__)


class Row:
    """A row of the service: visible from `born` (its commit) to `gone`."""
    def __init__(s, id, name, parent, maker):
        s.id, s.name, s.parent, s.maker = id, name, parent, maker
        s.born, s.gone, s.by, s.acked = INF, INF, None, False


class Process:
    """A sidecar process. `life` changes when it dies or is taken over; tasks of an older life never run again."""
    def __init__(s, n): s.n, s.life, s.up, s.paused, s.down, s.busy, s.seen, s.observes = n, 0, False, 0.0, None, set(), {}, False


class Settings:
    """What is drawn once for a schedule."""
    def __init__(s, r, pins):
        plain = r.random() < .5
        def pick(name, *choices):
            value = r.choice(choices)
            if name not in pins: return value
            return pins[name] if isinstance(value, str) else type(value)(float(pins[name]))
        def risky(name, *choices):
            """The first choice is what a careful operator sets; half of the schedules have all of these."""
            value = pick(name, *choices)
            return choices[0] if plain and name not in pins else value
        s.L = 100.0
        s.lam = pick('lam', 0., 0., 1., 10., 40.)
        s.exch, s.lease = pick('exch', 3., 20., 90.), pick('lease', 5., 30.)
        # fresh ids; upsert by name; ids chosen by clients; a deleted row that comes back under its id; replay keys
        s.kind = pick('kind', 'fresh', 'fresh', 'upsert', 'chosen', 'revive', 'replay')
        s.proof = {'fresh': pick('proof_f', 'always', 'always', 'listed'), 'upsert': pick('proof_u', 'status', 'listed'),
                   'chosen': pick('proof_c', 'status', 'listed'), 'revive': pick('proof_v', 'status', 'listed'),
                   'replay': pick('proof_r', 'always', 'status')}[s.kind]
        s.exclusive = bool(risky('exclusive', 1, 1, 1, 0))
        s.lists = bool(risky('lists', 1, 1, 1, 0)) or s.proof == 'listed'      # probe.before
        s.sees_all = bool(risky('sees_all', 1, 1, 1, 1, 0))
        s.keeps_owner = bool(pick('keeps_owner', 1, 0))
        s.before_answer = bool(pick('before_answer', 0, 1))
        s.page, s.new_first = pick('page', 1000, 1000, 1, 2), bool(pick('new_first', 0, 1))
        s.max_age = pick('max_age', 0., 1., 50.)
        s.del_404 = bool(pick('del_404', 0, 1))                               # 404, else 200, to a DELETE that finds nothing
        s.processes = pick('processes', 1, 1, 2, 3)
        s.crash = pick('crash', 0., .001, .004)                               # per step of any task
        s.bypass = risky('bypass', 0., 0., .3)
        s.side = risky('side', 0., 0., .2)                                     # requests that make a row on the side
        s.observer = bool(risky('observer', 0, 0, 0, 1))                       # some process observes for some time
        s.full = risky('full', 0., 0., .2)                                     # the journal refuses a new operation
        s.list_down = risky('list_down', 0., 0., 0., 3.)                       # for how many L lists fail
        s.faults = pick('faults', .1, .3, .6)
        s.names, s.parents = pick('names', 1, 1, 2), pick('parents', 1, 2)
        s.horizon = pick('horizon', .5, 1., 3., 6.) * s.L
        s.unresolved = pick('unresolved', 4., 10.) * s.L
        s.M = 20.0 + 3 * s.lam                                                # the longest that a list may take


# ---- pure decisions --------------------------------------------------------------------------------------------------

def may_mean(a, b):
    """Whether two requests, or a request and a row, may mean the same row: no field that both give differs."""
    return all(b[k] == v for k, v in a.items() if k in b)


def until(s, closed, answered):
    """The last instant at which a request that closed then may still show an effect to a reader."""
    return closed if closed == INF else closed + s.lam + (0 if answered and s.before_answer else s.L)


def trusted(s, since, lists_began): return s.exclusive and since + s.L + s.lam <= min(lists_began)


def newness(s, rules, c, status, id, entry, makers, doubt, trust):
    """Section 2: what an answer with `id` means for the create c. One of new, found, unproven, conflict.

    entry: what the index holds for the id. makers: other creates that may have made the row. doubt: whether a delete that
    may mean the row is open, or closed less than L + lambda before c was sent."""
    proof = {'always': 'new', 'status': 'new' if status == 201 else 'found',
             'listed': None if c.before is None or not trust else 'found' if id in c.before else 'new'}[s.proof]
    if c.key and proof == 'new' and 'replay' in rules: proof = None
    if proof == 'new' and s.proof != 'always' and 'unenforced' in rules and any(not m.enforced or m.state == 'reported' for m in makers): proof = None
    stands = entry and entry.wish == 'stands' and entry.holder is not None and not entry.reported
    if 'one_id' in rules and entry and (entry.wish in ('committed', 'condemned') or stands and proof == 'new'): return 'conflict'
    on_record = stands and (entry.since < c.at or 'stood_before' not in rules)
    if doubt:
        on_record = False
        if s.proof == 'listed' and proof == 'found': proof = None
    if proof == 'found' or on_record:
        return 'conflict' if 'found_503' in rules and not on_record and any(m.state != 'reported' for m in makers) else 'found'
    return proof or 'unproven'


def judge_row(s, rules, control, makers, trust):
    """Section 3: what happens to a listed row that nobody holds. One of ignore, wait, condemn, report."""
    if not makers: return 'ignore'
    if 'wait_in_flight' in rules and any(m.state == 'prepared' for m in makers): return 'wait'
    sure = s.proof == 'always' and all(m.enforced and m.state != 'reported' and m.before is not None and not (m.key and 'replay' in rules) for m in makers) or control == 'eager'
    return 'condemn' if sure and trust else 'report'


def settle_step(rules, wish, there, asked, made, removed):
    """Section 5: what follows from a confirm that was asked at `asked`. One of delete, end, deregister, or an instant to wait for."""
    if there and wish == 'condemned': return 'delete'
    if there: return 'end' if asked >= removed or 'removed' not in rules else removed
    return 'deregister' if asked >= made or 'made' not in rules else made


class World:
    def __init__(w, seed, opt):
        w.rng, w.opt, w.rules, w.control = random.Random(seed), opt, opt['rules'], opt.get('control')
        w.now, w.q, w.n, w.calm, w.bound, w.trace, w.bad, w.cover = 0.0, [], 0, False, INF, [], [], Counter()
        w.s = Settings(w.rng, opt.get('modes', {}))
        w.rows, w.keys, w.edges, w.nextid = [], {}, {}, 0               # the service; the back end's edges
        w.creates, w.deletes, w.ids = {}, {}, {}                        # the journal: operations, and the index of ids
        w.records, w.trusted_since = {}, -INF                           # the processes' records of their settings
        w.exceptions, w.told, w.shared = set(), set(), {}               # what the README lists; creates a person was told of; lists before
        w.truth, w.opn, w.names = {}, 0, ['a', 'b'][:w.s.names]
        w.parents = ['P', 'Q'][:w.s.parents]
        w.processes = [Process(i) for i in range(w.s.processes)]
        for n in range(w.rng.choice((0, 0, 1, 2))):                     # rows that are old when the first process starts
            x = Row('old%d' % n if w.s.kind in ('fresh', 'upsert', 'replay') else 'K' + w.rng.choice(w.parents) + w.rng.choice(w.names), None, None, 'nobody')
            x.name, x.parent = (x.id[2], x.id[1]) if x.id[0] == 'K' else (w.rng.choice(w.names), w.rng.choice(w.parents))
            if any((y.id, y.name, y.parent) == (x.id, x.name, x.parent) or w.s.kind == 'upsert' and (y.name, y.parent) == (x.name, x.parent) for y in w.rows): continue
            x.born, x.acked, w.edges[x.id] = -INF, True, ('nobody', x.parent)
            w.rows.append(x)
        w.down = (w.rng.random() * w.s.horizon, w.s.list_down * w.s.L)

    def has(w, rule): return rule in w.rules
    def log(w, *a):
        if w.opt.get('trace'): w.trace.append('%9.3f  %s' % (w.now, ' '.join(map(str, a))))
    def broken(w, kind, text): w.bad.append((kind, text)); w.log('*** BROKEN', kind, text)

    # ---- simulated time ----------------------------------------------------------------------------------------------
    def at(w, t, f):
        w.n += 1
        heapq.heappush(w.q, (t, w.n, f))
    def d(w, most):
        """A delay, log-uniform up to `most`; short once all is calm."""
        return min(most, .05) * w.rng.random() if w.calm else most * math.exp(-9 * w.rng.random())
    def spawn(w, gen, p=None):
        life = p and p.life
        def step(v=None):
            if p:
                if p.life != life: return gen.close()
                if p.paused > w.now: return w.at(p.paused, lambda: step(v))
                if not w.calm and w.rng.random() < w.s.crash: w.kill(p); return gen.close()
            try: y = gen.send(v)
            except StopIteration: return
            if not isinstance(y, Future): w.at(w.now + y, step)
            elif y.done: w.at(w.now, lambda: step(y.value))
            else: y.waiters.append(lambda v: w.at(w.now, lambda: step(v)))
        w.at(w.now, step)
    def sleep_until(w, t):
        while w.now < t: yield t - w.now + 1e-6

    # ---- the service and the back end --------------------------------------------------------------------------------
    def request(w, what, work, p=None, late=None, faults=1):
        """Sent now. work() runs on arrival and returns (answer, effect or None). Arrival and effect come within L of the
        look at the lease, which is now; the process may pause between that look and the sending. The future gets
        ('ok', answer), ('500', None) or ('cut', None) when the exchange closes; `late` gets an answer that comes later."""
        f, r, sent, L, exch = Future(), w.rng, w.now, w.s.L, w.s.exch
        fate = 'ok' if w.calm or r.random() > w.s.faults * faults else r.choice(('lost', '500', '500 after', 'cut', 'abort', 'slow'))
        arrive = w.d(L)
        if p and not w.calm and len(w.processes) > 1 and r.random() < .02:
            p.paused = max(p.paused, w.now + arrive)
            w.cover['paused before the send'] += 1
        commit = arrive if not w.calm and r.random() < .4 else arrive + w.d(L - arrive)
        answer = arrive + w.d(L * 1.2)
        if faults < 1: arrive = w.d(exch / 2); answer = arrive + w.d(exch / 2)          # lists are mostly quick
        if fate == 'slow':
            arrive, answer = r.uniform(exch, L), r.uniform(exch, L * 1.5)
            commit = max(arrive, commit)
        answer = max(answer, commit if w.s.before_answer else arrive)
        def arrived():
            if fate in ('lost', '500'): return
            got, effect = work()
            w.log('   peer:', what, '->', got, 'effect at %.3f' % (sent + commit) if effect else '', fate)
            if effect: w.at(sent + commit, lambda: effect(fate != 'abort'))
            def answered():
                if fate not in ('ok', 'slow'): f.set(('500', None))
                elif not f.set(('ok', got)) and late: late(got)
            if fate != 'cut': w.at(sent + answer, answered)
        w.at(sent + arrive, arrived)
        early = w.d(exch)
        if fate == 'cut' or fate in ('500', 'lost') and r.random() < .5:
            w.at(sent + early, lambda: f.set(('cut' if fate == 'cut' else '500', None)))
        w.at(sent + exch, lambda: f.set(('cut', None)))
        return f

    def view(w):
        """The rows as one reader sees them, up to lambda old."""
        t = w.now - w.s.lam * w.rng.choice((0, 1, w.rng.random()))
        return [x for x in w.rows if x.born <= t < x.gone]
    def s_list(w, parent, page):
        def work():
            if w.down[0] <= w.now <= w.down[0] + w.down[1] and not w.calm: return None, None
            rows = [x for x in w.view() if x.parent == parent and (w.s.sees_all or x.maker[-1] in '13579')]
            rows.sort(key=lambda x: x.born, reverse=w.s.new_first)
            return [(x.id, x.name) for x in rows[page * w.s.page:(page + 1) * w.s.page]], None
        return work
    def s_get(w, id): return lambda: ([x.id for x in w.view() if x.id == id], None)
    def s_create(w, op, name, parent, key, told=True):
        s = w.s
        def work():
            def existing(x): return ((201 if key else 200, x.id, x.parent) if x.born <= w.now else (409, None, None)), None
            if key in w.keys: return existing(w.keys[key])                      # a replay, even of a row that is gone
            mine = [x for x in w.rows if x.name == name and x.parent == parent and x.gone > w.now]
            if mine and s.kind in ('upsert', 'chosen', 'revive') and told: return existing(mine[0])
            w.nextid += 1
            x = Row('K' + parent + name if s.kind in ('chosen', 'revive') and told else 'K%d' % w.nextid, name, parent, op)
            w.rows.append(x)
            if key: w.keys[key] = x
            def commit(really):
                if really: x.born = w.now; w.log('   row', x.id, 'of', op, 'is born')
                else: x.gone = w.now; key and w.keys.pop(key, None)
            return ((201, x.id, parent) if told else (200, None, None)), commit
        return work
    def s_delete(w, match, by):
        """Looks where a reader looks: under lag it finds nothing, and may answer 200 all the same."""
        def work():
            hit = [x for x in w.view() if match(x) and x.gone > w.now]
            def commit(really):
                for x in hit if really else ():
                    if x.gone > w.now:
                        x.gone, x.by = w.now, by
                        w.log('   row', x.id, 'of', x.maker, 'removed by', by)
                        if by == 'undo' and (x.acked or not w.truth.get(x.maker)): w.broken('P4', 'taken: row %s of %s' % (x.id, x.maker))
            return (200 if hit or not w.s.del_404 else 404), commit if hit else None
        return work
    def b_register(w, id, op, parent, p, keep=False):
        def work():
            if not w.calm and w.rng.random() < w.s.faults / 2: return 403, None
            if not (keep and id in w.edges): w.edges[id] = op, parent
            return 200, None
        return w.request('register %s of %s' % (id, op), work, p)
    def b_deregister(w, id, p): return w.request('deregister ' + id, lambda: (w.edges.pop(id, None) and 200 or 200, None), p)

    # ---- processes, leases, recovery, trust --------------------------------------------------------------------------
    def J(w, p, f):
        future, life = Future(), p.life
        def apply():
            if p.life == life:
                v = f()
                w.at(w.now + w.d(.5), lambda: future.set(v))
        w.at(w.now + w.d(.5), apply)
        v = yield future
        return v
    def kill(w, p):
        w.log('   CRASH of process', p.n); w.cover['crash'] += 1
        p.life, p.up = p.life + 1, False
        w.at(w.now + w.d(w.s.L * w.rng.choice((1, 1, 1, 6))) + .01, lambda: w.start(p))
    def start(w, p):
        if p.up: return
        p.up, p.paused, p.busy, p.seen = True, 0.0, set(), {}
        if w.s.observer and p.n == 0: p.observes = not w.calm and w.rng.random() < .5
        w.log('   process', p.n, 'starts', 'and observes' if p.observes else '')
        # Every change of what the processes say moves trusted_since; a start with the same settings does not.
        if w.records.get(p.n) is not None and w.records[p.n] != p.observes or p.observes: w.trusted_since = w.now
        w.records[p.n] = p.observes
        w.adopt(p, p.n)
        w.spawn(w.judge_loop(p), p); w.spawn(w.settle_loop(p), p)
    def observed(w): return any(w.records.values())
    def takeover(w, dead):
        """The lease of `dead` has run out: another replica carries on, and nothing that `dead` still writes is taken."""
        for q in w.processes:
            if q is not dead and q.up and q.paused <= w.now:
                if dead.up: w.cover['takeover'] += 1; dead.life, dead.up = dead.life + 1, False; w.at(max(w.now, dead.paused), lambda: w.start(dead))
                if w.records.get(dead.n): w.trusted_since, w.records[dead.n] = w.now, False
                return w.adopt(q, dead.n)
    def adopt(w, p, n):
        """Carry on with what process n left in the journal. What it had in flight is closed now."""
        for c in [c for c in w.creates.values() if c.owner == n]:
            if c.state in ('prepared', 'unknown', 'committed', 'registered'): c.owner = p.n
            if c.registering: c.registering, c.register_until = False, w.now + w.s.L
            if c.state == 'prepared': w.close(c, 'unknown')
            elif c.state == 'committed': w.not_registered(p, c)
            elif c.state == 'registered': w.spawn(w.look_for_deletes(p, c), p)
        for x in [x for x in w.deletes.values() if x.owner == n and not x.ended]:
            x.owner = p.n
            if x.closed == INF: x.closed = w.now; w.watch(x.targets, p)
            w.spawn(w.last_look(p, x), p)
        for i in w.ids.values():
            if i.owner != n: continue
            if i.open: i.owner = p.n
            if i.removing: i.removing, i.removal_until = False, w.now + w.s.L + w.s.lam
            if i.deregistering: i.deregistering, i.dereg_until = False, w.now + w.s.L

    # ---- pieces of transactions --------------------------------------------------------------------------------------
    def close(w, c, state, answered=False): c.state, c.closed, c.answered = state, w.now, answered
    def entry(w, id, p, fields=None):
        if id not in w.ids:
            w.ids[id] = Rec(id=id, wish='stands', holder=None, reported=False, open=False, owner=p.n, since=w.now, proof=-INF,
                            fields=dict(fields or {}, id=id), removing=False, removal_until=-INF, deregistering=False, dereg_until=-INF)
        return w.ids[id]
    def row_fields(w, c):
        """What a create says of the row that answered it: nothing if that may be a replay of another request's row."""
        return {} if c.key and w.has('replay_fields') else c.fields
    def overlapping(w, c, id):
        """Deletes whose effect may come after the intent of c, and that may mean its row."""
        fields = dict(w.row_fields(c), id=id)
        return [x for x in w.deletes.values() if (id in x.targets or may_mean(x.fields, fields)) and until(w.s, x.closed, x.answered) > c.at]
    def held(w, id):
        i = w.ids.get(id)
        return bool(i and (i.holder or i.wish == 'condemned' or i.reported))
    def take(w, c, wish, id, p):
        i = w.entry(id, p, w.row_fields(c))
        i.wish, i.holder, i.since, i.owner = wish, c.op, w.now, p.n
        c.id = id
        return i
    def watch(w, ids, p):
        """Requests that may concern these ids have closed: settle them."""
        for id in sorted(ids):
            i = w.entry(id, p)
            if i.wish == 'gone': i.wish = 'stands'
            if i.wish != 'committed' and not i.open: i.open, i.owner = True, p.n
    def report(w, id, p, fields=None):
        i = w.entry(id, p, fields)
        i.reported, i.wish = True, 'stands' if i.wish == 'gone' else i.wish
        w.log('   reported', id)
    def makers_of(w, id, fields, creates, deletes, ids, but=None):
        """Creates that do not know their row and may have made this one."""
        return [c for c in creates if c is not but and c.id is None and may_mean(c.fields, fields)
                and (c.state in ('prepared', 'unknown') or c.state == 'reported' and w.has('blind'))
                and not (w.has('before') and c.before is not None and id in c.before and not w.doubt(id, fields, c, deletes, ids))]
    def doubt(w, id, fields, c, deletes, ids):
        """Whether a row with this id that stood before c was sent may have gone and come back since."""
        if not w.has('doubt') or w.s.proof == 'always': return False
        i, since = ids.get(id), c.at if c.began is None else c.began
        return bool(i and (i.open or i.wish == 'gone')) or any(
            (id in x.targets or may_mean(x.fields, fields)) and x.closed + w.s.L + w.s.lam >= since for x in deletes)
    def unenforced_may_mean(w, id, fields):
        return any(not c.enforced and may_mean(c.fields, dict(fields, id=id)) and c.id in (None, id)
                   and (c.closed == INF or c.closed + w.s.L + w.s.lam >= w.now) for c in w.creates.values())
    def condemn(w, id, c, p, fields):
        """The start of an undo. c is the create whose answer named the id, or None if a list showed it. False: refused."""
        i = w.ids.get(id)
        if i and i.reported: return False
        if w.has('one_id') and w.held(id) and not (c and i.holder == c.op and i.wish == 'committed'): return False
        if w.has('trust_now') and (w.s.proof != 'always' or c is None) and (w.observed() or not trusted(w.s, w.trusted_since, [w.now])): return False
        if w.has('come_back') and w.s.proof != 'always' and w.unenforced_may_mean(id, fields): return False
        i = w.entry(id, p, fields)
        i.wish, i.holder, i.open, i.owner, i.since, i.proof = 'condemned', c and c.op, True, p.n, w.now, -INF
        if c: c.state = 'undone'
        w.log('   condemned', id, 'for', c and c.op)
        m = next((w.creates.get(x.maker) for x in w.rows if x.id == id and x.gone > w.now), None)
        if c is None and m and m.state == 'prepared' and m.enforced and w.processes[m.owner].up: w.broken('hasty', 'row %s condemned, its create %s in flight' % (id, m.op))
        return True
    def made(w, i):
        """The last instant at which a request that may make the row, or its registration, may still show an effect."""
        t = -INF
        for c in w.creates.values():
            if not (c.id == i.id or c.saw == i.id or w.s.proof != 'always' and c.id is None and c.saw is None
                    and may_mean(c.fields, i.fields)): continue
            t = max(t, c.closed if w.control == 'at_once' else until(w.s, c.closed, c.answered))
            if c.id == i.id: t = max(t, INF if c.registering else c.register_until)
        return t
    def removed(w, i):
        """The same for what may remove the row or its registration."""
        t = -INF if w.control == 'at_once' else INF if i.removing or i.deregistering else max(i.removal_until, i.dereg_until)
        for x in w.deletes.values():
            if i.id in x.targets or w.s.proof != 'always' and w.has('came_back') and may_mean(x.fields, i.fields): t = max(t, x.closed if w.control == 'at_once' else until(w.s, x.closed, x.answered))
        return t

    def landed(w, i):
        """The last instant at which a deregistration of ours, or an undo's DELETE, may still land."""
        return INF if i.removing or i.deregistering else max(i.removal_until if i.wish == 'condemned' else -INF, i.dereg_until)

    # ---- lists (section 3) -------------------------------------------------------------------------------------------
    def read_list(w, p, target):
        """Reads all pages. Returns ({id: name}, began, complete), or None if some page fails.

        One page that is not full is complete. Several pages are complete if three readings in a row, each begun lambda
        after the end of the one before, show the same ids: a row that shifts over the edge of a page while another is
        removed makes the next reading differ, one that shifts while another is made makes this reading differ from the
        one before, and so the reading in the middle can miss nothing."""
        began, rows, before, equal = w.now, {}, None, 0
        enough = 3 if w.has('third') else 2
        for _ in range(6):
            reading, page = {}, 0
            while True:
                kind, got = yield w.request('list %s page %d' % (target, page), w.s_list(target[1], page), p, faults=.2)
                if kind != 'ok' or got is None or w.now > began + w.s.M: return None
                reading.update(got); page += 1
                if len(got) < w.s.page: break
            rows.update(reading)
            if page == 1: enough = 1
            equal = equal + 1 if before is not None and before == set(reading) else 1
            if equal == 1 and before is not None: began = last
            if equal >= enough: break
            before, last = set(reading), w.now
            yield from w.sleep_until(w.now + w.s.lam)
        complete = equal >= enough and w.s.sees_all
        if complete and w.has('third'):
            for x in w.rows:
                if x.parent == target[1] and x.born + w.s.lam <= began and x.gone > w.now and x.id not in rows: w.broken('list', '%s lacks %s' % (target, x.id))
        return rows, began, complete
    def list_before(w, p, target):
        """The list that is read before a create is sent: (ids, began), or None. It is shared while it is young."""
        have = w.shared.get((p.n, p.life, target))
        if have and have[1] + w.s.max_age >= w.now: return have
        got = yield from w.read_list(p, target)
        if not got or not got[2]: return None
        w.shared[p.n, p.life, target] = frozenset(got[0]), got[1]
        return w.shared[p.n, p.life, target]

    # ---- create (sections 1, 2) --------------------------------------------------------------------------------------
    def create(w, p, op, name, spelled, parent, key, enforced, side, done):
        s = w.s
        def answer(code, id=None): done.set((code, id)); w.log(op, 'is answered', code, id or '')
        fields = {'name': name, 'p' + spelled: parent}
        if s.kind == 'chosen' and not side: fields['id'] = 'K' + parent + name
        if key and s.proof == 'always' and not s.keeps_owner and enforced and w.has('replay'): return answer(503)     # unproven, refused unsent
        before = (yield from w.list_before(p, (spelled, parent))) if s.lists and enforced else None
        c = Rec(op=op, fields=fields, parent=parent, target=(spelled, parent), key=key, enforced=enforced, owner=p.n, state='prepared', id=None, saw=None,
                value=None, at=INF, closed=INF, answered=False, before=before and before[0], began=before and before[1], registering=False, register_until=-INF)
        def prepare():
            if w.has('refuse_named') and s.proof != 'always' and any(i.open and may_mean(fields, i.fields) for i in w.ids.values()): return False
            w.creates[op], c.at = c, w.now
            w.log(op, 'prepared', fields, key or '', '' if enforced else 'not enforced', 'before', c.before)
            return True
        if not enforced and w.rng.random() < s.full and not w.calm and (p.observes or not w.has('record_all')):
            w.log(op, 'passes unrecorded')
            kind, a = yield w.request('create ' + op, w.s_create(op, name, parent, key, not side), p)
            if kind == 'ok' and a[1]: w.ack(op, a[1], False)
            return answer(a[0] if kind == 'ok' else 504)
        if not (yield from w.J(p, prepare)): return answer(503)
        kind, a = yield w.request('create ' + op, w.s_create(op, name, parent, key, not side), p, lambda a: w.spawn(w.late_id(p, c, a), p))
        if kind != 'ok':
            yield from w.J(p, lambda: w.close(c, 'unknown'))
            return answer(504)
        status, id, c.parent = a                       # the parent is read from the answer
        if id is None:
            yield from w.J(p, lambda: w.close(c, 'reported' if side else 'ended', True))
            return answer(status)
        def look():
            w.close(c, 'prepared', True)
            if not enforced:
                i = w.ids.get(id)
                if i and i.wish == 'condemned': i.wish = 'stands'; w.cover['gave way'] += 1
                c.saw, c.state = id, 'passed'
                w.pass_on(c, id, p)
                return 'passed'
            v = w.value_of(c, status, id)
            c.value, c.saw = v, id
            w.log(op, 'got', id, v); w.cover[v] += 1
            if v == 'found': w.close(c, 'found', True); w.pass_on(c, id, p)
            elif v == 'conflict': w.close(c, 'unknown', True); id in w.ids and w.watch([id], p)
            elif v == 'unproven' and not s.keeps_owner: w.close(c, 'reported', True); c.id = id; w.report(id, p, c.fields)
            elif w.control != 'enqueue': commit()
            return v
        def commit():
            if c.state != 'prepared': return
            w.close(c, 'committed', True)
            w.take(c, 'committed', id, p); c.registering = True
        v = yield from w.J(p, look)
        if v in ('found', 'passed'): w.ack(op, id, False); return answer(status, id)
        if v == 'conflict' or v == 'unproven' and not s.keeps_owner: return answer(503)
        if w.control == 'enqueue': w.spawn(w.J(p, commit), p)
        kind, got = yield w.b_register(id, op, c.parent, p, v == 'unproven')
        ok = (kind, got) == ('ok', 200)
        def register_closed():
            if c.state == 'prepared': commit()                                 # only under the control `enqueue`
            c.registering, c.register_until = False, w.now if kind == 'ok' else w.now + s.L
        if ok and v == 'unproven' and w.has('confirm'):
            yield from w.sleep_until(c.at + s.lam)
            ok = (yield w.request('confirm ' + id, w.s_get(id), p)) == ('ok', [id])
        if ok and w.control == 'answer_first': w.ack(op, id, True); answer(201, id)
        def registered():
            register_closed()
            if c.state != 'committed': return False
            c.state, w.ids[id].wish, w.ids[id].reported = 'registered', 'stands', False
            return True
        def failed():
            register_closed()
            if c.state == 'committed': w.not_registered(p, c)
        if ok and (yield from w.J(p, registered)):
            w.ack(op, id, True); answer(201, id)
            yield from w.look_for_deletes(p, c)
        else:
            if not ok: yield from w.J(p, failed)
            answer(503)

    def not_registered(w, p, c):
        """A create that knows its row and was not registered: undo it if it is new, else report it and remove the registration once the row is gone."""
        if c.value == 'new' and w.condemn(c.id, c, p, c.fields): return
        w.ids[c.id].wish, c.state = 'stands', 'reported'
        w.report(c.id, p); w.watch([c.id], p)
    def pass_on(w, c, id, p):
        """A client will be told of this id, and nothing is registered: a recorded exception to P1."""
        w.exceptions.add(id)
        c.id = id
        i = w.entry(id, p, w.row_fields(c))
        if w.s.proof != 'always' and w.has('pass_looks') and w.overlapping(c, id): w.watch([id], p)
        if not i.holder: i.holder, i.since = c.op, w.now
        if i.wish == 'gone': i.wish = 'stands'
    def value_of(w, c, status, id):
        fields = dict(c.fields, id=id)
        makers = w.makers_of(id, fields, w.creates.values(), w.deletes.values(), w.ids, c)
        doubt = w.doubt(id, fields, c, w.deletes.values(), w.ids)
        trust = c.began is not None and not w.observed() and (trusted(w.s, w.trusted_since, [c.began]) or not w.has('trust'))
        i = w.ids.get(id)
        return newness(w.s, w.rules, c, status, id, i, makers, doubt, trust)
    def late_id(w, p, c, a):
        """An answer after the exchange was closed. No client was told of this row."""
        status, id, _ = a
        def late():
            if id is None or c.state != 'unknown' or c.id or not c.enforced: return
            c.saw = id
            value = w.value_of(c, status, id)
            w.log(c.op, 'late id', id, value)
            if value == 'new' and w.condemn(id, c, p, c.fields): c.id = id
            elif value == 'unproven' or value == 'new' and not w.held(id): w.report(id, p, c.fields)
        yield from w.J(p, late)
    def ack(w, op, id, registered):
        """The client hears 2xx. Checks of P1 and P4 with what the world knows."""
        x = next((x for x in reversed(w.rows) if x.id == id), None)
        if not x: return
        acked, x.acked = x.acked, True
        if not registered: w.exceptions.add(id)
        if x.by == 'undo': w.broken('P4', 'acknowledged row %s of %s had been undone' % (id, x.maker))
        i = w.ids.get(id)
        if not registered and w.truth[op] and w.truth.get(x.maker) and id not in w.edges and (x.maker == op or x.by is None and not acked and not (i and i.reported or x.maker in w.told)):
            w.broken('P1', '%s made %s, passed on unregistered to %s' % (x.maker, id, op))

    # ---- judgement of rows (sections 3, 4) ---------------------------------------------------------------------------
    def judge_loop(w, p):
        while True:
            yield w.s.L * .15 * (.2 + w.rng.random())
            mine = lambda: [c for c in w.creates.values() if c.state == 'unknown' and c.owner == p.n]
            if not (yield from w.J(p, mine)): continue
            def copy(): return [c.copy() for c in w.creates.values()], [x.copy() for x in w.deletes.values()], {k: i.copy() for k, i in w.ids.items()}, w.trusted_since, w.observed()
            creates, deletes, ids, since, observed = yield from w.J(p, copy)
            # A row that an earlier pass listed was made by a create that this snapshot shows: it was prepared before that list.
            lists, busy = {}, set()
            for target in sorted({c.target for c in creates if c.state in ('prepared', 'unknown', 'reported')}):
                lists[target] = yield from w.read_list(p, target)
            for id, name in sorted({kv for got in lists.values() if got for kv in got[0].items()}):
                held = id in ids and (ids[id].holder or ids[id].wish == 'condemned' or ids[id].reported)
                if held and w.s.proof != 'always' and ids[id].open and w.has('came_back'):      # it may have come back: its settle tells
                    busy |= {c.op for c in w.makers_of(id, ids[id].fields, creates, deletes, ids)}
                if held: continue                                                               # not free
                fields, shown = {'id': id, 'name': name}, {t for t, got in lists.items() if got and id in got[0]}
                possible = w.makers_of(id, fields, creates, deletes, ids)
                first = p.seen.setdefault(id, w.now) + w.s.lam if w.has('seen_before') else -INF
                unread = [c for c in possible if not (got := lists.get(c.target)) or got[1] < first or not got[2] and id not in got[0]]
                makers = [c for c in possible if c.target in shown or not w.has('own_target')]
                busy |= {c.op for c in possible} if unread else {c.op for c in makers}
                if unread: continue
                trust = not observed and (trusted(w.s, since, [c.began if c.began is not None else -INF for c in makers] or [INF]) or not w.has('trust') and w.s.exclusive)
                v = judge_row(w.s, w.rules, w.control, makers, trust)
                w.cover['row ' + v] += 1
                def act():
                    if w.held(id): return
                    if v != 'condemn' or not w.condemn(id, None, p, dict(fields, **makers[0].fields)): w.report(id, p, fields)
                if v in ('condemn', 'report'): yield from w.J(p, act)
            for c in creates:
                got = lists.get(c.target)
                if c.state != 'unknown' or c.owner != p.n: continue
                if got and got[2] and c.op not in busy and (got[1] >= c.closed + w.s.L + w.s.lam or not w.has('late_end') and got[1] > c.closed):
                    yield from w.J(p, lambda: w.unknown_ends(c.op, 'ended'))
                elif w.now > c.closed + w.s.unresolved: yield from w.J(p, lambda: w.unknown_ends(c.op, 'reported'))
    def unknown_ends(w, op, state):
        c = w.creates.get(op)
        if not c or c.state != 'unknown': return
        c.state = state; w.log(op, 'unknown is', state)
        if state == 'reported': w.told.add(op)

    # ---- settle (section 5) ------------------------------------------------------------------------------------------
    def settle_loop(w, p):
        while True:
            yield w.s.L * .1 * (.1 + w.rng.random())
            for k in (yield from w.J(p, lambda: [k for k, i in w.ids.items() if i.open and i.owner == p.n and k not in p.busy])):
                p.busy.add(k); w.spawn(w.settle(p, k), p)
    def settle(w, p, id):
        busy = p.busy
        def facts():
            i = w.ids.get(id)
            if not (i and i.open and i.owner == p.n and i.wish != 'committed'): return None
            f = i.copy(), w.made(i), w.removed(i)
            i.proof = -INF                                              # it counts as one confirm
            return f
        try:
            while True:
                f = yield from w.J(p, facts)
                if not f: return
                i, made, removed = f
                asked = w.now
                if i.proof > -INF and i.proof >= made: there, asked = False, i.proof
                else:
                    kind, got = yield w.request('confirm ' + id, w.s_get(id), p)
                    if kind != 'ok': yield w.d(w.s.L / 4) + .1; continue
                    there = bool(got)
                step = settle_step(w.rules, i.wish, there, asked, made, removed)
                if not isinstance(step, str):
                    yield min(max(step - w.now, 0), w.s.L / 4) + w.d(1.) + .001
                    continue
                if step == 'delete': yield from w.undo(p, id, i); continue
                if step == 'deregister' and not (yield from w.deregister(p, id, asked)): continue
                def end():
                    r = w.ids.get(id)
                    if not r or not r.open or r.wish != i.wish or r.holder != i.holder: return
                    if there and asked < w.removed(r) and w.has('removed') or not there and asked < w.made(r) and w.has('made'): return
                    if w.has('release') and w.now < w.landed(r): return
                    # A row that came back may be that of an unresolved create.
                    if there and w.has('came_back') and w.s.proof != 'always' and w.makers_of(id, r.fields, w.creates.values(), w.deletes.values(), w.ids): r.reported = True
                    r.open = False
                    w.log('settled', id, 'there' if there else 'gone')
                    if not there and w.has('gone'): r.wish, r.holder, r.reported, r.since = 'gone', None, False, w.now
                    elif not there or not (r.holder or r.reported): del w.ids[id]
                yield from w.J(p, end)
                if id in w.ids and w.ids[id].open: yield from w.sleep_until(min(w.landed(w.ids[id]), w.now + w.s.L / 4) + w.d(1.))
        finally: busy.discard(id)
    def undo(w, p, id, i):
        def may():
            r = w.ids.get(id)
            if not r or r.wish != 'condemned': return False
            if w.has('trust_kept') and w.s.proof != 'always' and (w.observed() or w.trusted_since > r.since):
                r.wish, r.reported = 'stands', True
                return False
            if w.has('come_back') and w.s.proof != 'always' and w.unenforced_may_mean(id, r.fields): return False
            r.removing = True
            return True
        if not (yield from w.J(p, may)): yield w.d(w.s.L / 4) + .1; return
        r = yield w.request('undo ' + id, w.s_delete(lambda x: x.id == id, 'undo'), p)
        def sent():
            if id in w.ids: w.ids[id].removing, w.ids[id].removal_until = False, max(w.ids[id].removal_until, until(w.s, w.now, r[0] == 'ok'))
        yield from w.J(p, sent)
        yield w.s.lam + w.d(1.)
    def deregister(w, p, id, asked):
        def mark():
            r = w.ids.get(id)
            if not r or r.wish == 'committed' or asked < w.made(r) and w.has('made'): return False
            r.deregistering = True
            return True
        if not (yield from w.J(p, mark)): return False
        r = yield w.b_deregister(id, p)
        def closed():
            if id in w.ids: w.ids[id].deregistering, w.ids[id].dereg_until = False, max(w.ids[id].dereg_until, w.now if r[0] == 'ok' else w.now + w.s.L)
        yield from w.J(p, closed)
        if r != ('ok', 200): yield w.d(w.s.L / 4) + .1
        return r == ('ok', 200)

    # ---- deletes, and deletes that overlap creates (section 6) -------------------------------------------------------
    def look_for_deletes(w, p, c):
        """`registered` is durable. A delete whose effect may come after the intent, and that may mean the row, has it settled."""
        def look():
            i = w.ids.get(c.id)
            c.state = 'done'
            hit = w.overlapping(c, c.id)
            if w.has('look_after'):
                for x in hit: x.targets.add(c.id)
                if hit or i and (i.deregistering or i.dereg_until > c.at): w.watch([c.id], p)
        yield from w.J(p, look)
    def look_for_creates(w, x):
        if not w.has('delete_looks'): return
        for c in w.creates.values():
            if c.id and may_mean(x.fields, dict(w.row_fields(c), id=c.id)) and until(w.s, c.closed, c.answered) >= (x.since if w.has('since_list') else x.at): x.targets.add(c.id)
    def delete(w, p, op, fields, parent):
        by_id, seen, began = 'id' in fields, set(), w.now
        if by_id:
            seen = set((yield w.request('look-up', w.s_get(fields['id']), p))[1] or ())
        else:
            got = yield from w.read_list(p, ('delete', parent))
            if got is None or not got[2] and w.has('complete_delete'): return
            seen = {id for id, name in got[0].items() if name == fields['name']}
            began = got[1]
        seen_at = w.now
        x = Rec(op=op, fields=fields, targets=set(seen), since=began, owner=p.n, at=INF, closed=INF, answered=False, ended=False)
        match = lambda r: r.id == fields['id'] if by_id else r.name == fields['name'] and r.parent == parent
        def prepare():
            x.at, w.deletes[op] = w.now, x
            if by_id and w.has('target'): x.targets.add(fields['id'])
            w.look_for_creates(x)
            w.log(op, 'prepared, delete', fields, sorted(x.targets))
        yield from w.J(p, prepare)
        asked = w.now
        r = yield w.request('delete %s' % fields, w.s_delete(match, 'client'), p)
        def closed():
            x.closed, x.answered = w.now, r[0] == 'ok'
            w.look_for_creates(x)
            w.watch(x.targets, p)
            i = w.ids.get(fields.get('id'))
            if w.s.before_answer and seen and r == ('ok', 200) and asked >= seen_at + w.s.lam and i and i.open and asked >= w.made(i): i.proof = asked
        yield from w.J(p, closed)
        yield from w.last_look(p, x)
    def last_look(w, p, x):
        yield from w.sleep_until(until(w.s, x.closed, x.answered))
        def look():
            before = set(x.targets)
            w.look_for_creates(x); w.watch(x.targets - before, p)
            x.ended = True
        yield from w.J(p, look)

    # ---- clients, chaos, forgetting, the end -------------------------------------------------------------------------
    def pick_process(w): return w.rng.choice([p for p in w.processes if p.up and p.paused <= w.now] or [None])
    def client(w):
        r, acts, s = w.rng, w.rng.choice((2, 3, 5, 8, 16)), w.s
        for n in range(acts):
            yield w.d(s.horizon) if r.random() < .6 else r.random() * s.horizon / acts
            what, name, p, parent = r.choice(('create',) * 5 + ('id', 'id', 'name', 'direct')), r.choice(w.names), w.pick_process(), r.choice(w.parents)
            known = [x.id for x in w.rows if x.born <= w.now and (x.gone > w.now or r.random() < .1)]      # as seen in lists
            if what == 'create':
                w.spawn(w.client_create(name, parent, r.choice((None, 'k1', 'k2')) if s.kind == 'replay' else None, r.random() < s.side))
            elif what == 'direct' and not s.exclusive: w.request('direct', w.s_create('direct%d' % n, name, parent, None))
            elif p and (what == 'name' or what == 'id' and known):
                w.opn += 1
                fields = {'id': r.choice(known)} if what == 'id' else {'name': name, r.choice(('pid', 'pname')): parent}
                w.spawn(w.delete(p, 'D%d' % w.opn, fields, parent), p)
    def client_create(w, name, parent, key, side):
        spelled = w.rng.choice(('id', 'name'))
        for _ in range(3):                                              # clients retry with the same identity
            p = w.pick_process()
            if p:
                w.opn += 1
                op, done = 'C%d' % w.opn, Future()
                w.truth[op] = not side and w.rng.random() >= w.s.bypass and not p.observes
                w.at(w.now + w.s.exch * 3 + 25, lambda: done.set((0, None)))
                w.spawn(w.create(p, op, name, spelled, parent, key, w.truth[op], side, done), p)
                if (yield done)[0] in (200, 201): return
            if w.rng.random() < .4 or w.calm: return
            yield w.d(w.s.L / 2)
    def chaos(w):
        """Pauses of whole processes, leases that run out, forgetting."""
        r, s = w.rng, w.s
        while True:
            yield s.L * (.1 if w.calm else .05)
            for p in w.processes if len(w.processes) > 1 else ():
                if p.up and p.paused <= w.now: p.down = None
                else:
                    p.down = p.down or w.now
                    if w.now - p.down > s.lease: w.takeover(p)
                if not w.calm and r.random() < .02: p.paused = w.now + w.d(2 * s.L)
                if s.observer and p.n == 0 and p.up and not w.calm and r.random() < .02: w.kill(p)      # a deploy
            if w.pick_process(): w.forget()                             # nobody forgets while no process runs
    def forget(w):
        """Section 7."""
        s = w.s
        for i in [i for i in w.ids.values() if i.wish == 'gone' and not i.open and w.now > i.since + s.L + s.lam
                  and not any(c.state in ('prepared', 'unknown') and c.at <= i.since + s.L + s.lam for c in w.creates.values())]: del w.ids[i.id]
        unresolved = [c for c in w.creates.values() if c.state in ('prepared', 'unknown', 'committed', 'registered')]
        def kept(until): return w.now <= until or w.has('keep') and any(u.at <= until for u in unresolved)
        for c in list(w.creates.values()):
            if c.closed == INF or c.state in ('prepared', 'unknown', 'committed', 'registered'): continue
            if w.control == 'forget': keep = False
            elif c.state == 'reported' and c.id is None: keep = any(u.at < c.closed + s.L + s.lam for u in unresolved) or w.now <= c.closed + s.L + s.lam
            else: keep = kept(c.closed + 2 * s.L + s.lam + s.M)
            i = w.ids.get(c.id) if c.id else None
            if keep or i and i.holder == c.op and i.open: continue
            if i and i.holder == c.op:
                if i.reported: continue
                del w.ids[c.id]
            del w.creates[c.op]; w.log('   forgotten', c.op)
        for x in list(w.deletes.values()):
            if not x.ended: continue
            if not kept(x.closed + 2 * s.L + s.lam + s.M) or w.control == 'forget': del w.deletes[x.op]
    def run(w):
        for p in w.processes: w.start(p)
        w.spawn(w.client()); w.spawn(w.chaos())
        def calm(): w.calm, w.bound = True, w.now + 8 * (w.s.L + w.s.lam + w.s.exch) + w.s.unresolved; w.log('   CALM: peers answer, nobody dies')
        w.at(w.s.horizon * 1.5, calm)
        while w.now < w.bound:
            w.now, _, f = heapq.heappop(w.q)
            f()
            if w.calm and w.n % 16 == 0 and w.now > w.s.horizon * 1.5 + 5 * w.s.L and not w.unfinished(): break
        w.check()
        return w
    def unfinished(w):
        return ([c.op + ' is ' + c.state for c in w.creates.values() if c.state in ('prepared', 'unknown', 'committed', 'registered')]
                + [x.op for x in w.deletes.values() if not x.ended] + [i.id + ' (' + i.wish + ')' for i in w.ids.values() if i.open])
    def check(w):
        """The promises, once all is quiet."""
        for u in w.unfinished(): w.broken('stuck', u)
        standing = {x.id: x for x in w.rows if x.born <= w.now < x.gone}
        for x in standing.values():
            i = w.ids.get(x.id)
            told = i and i.reported or x.id in w.exceptions or x.maker in w.told
            if w.truth.get(x.maker) and x.id not in w.edges and not told: w.broken('P2', 'row %s of %s stands, neither registered nor reported' % (x.id, x.maker))
            if x.id in w.edges and w.edges[x.id][1] != x.parent: w.broken('P1', 'row %s has the wrong parent' % x.id)
        for id in w.edges:
            if id not in standing: w.broken('P3', 'edge %s has no row' % id)
        # Where nothing is in doubt, nothing may be left to a person.
        s = w.s
        if (s.kind, s.proof, s.exclusive, s.lists, s.sees_all, s.bypass, s.side, s.observer, s.list_down) == ('fresh', 'always', True, True, True, 0, 0, False, 0):
            left = sorted(i.id for i in w.ids.values() if i.reported)
            if left: w.cover['needless report'] += 1


def one(job):
    seed, opt = job
    w = World(seed, opt).run()
    return seed, w.bad, w.cover, ' '.join((w.s.kind, w.s.proof, 'exclusive' if w.s.exclusive else 'shared', 'lam=%g' % w.s.lam)), w.opn + len(w.rows)


def modes(text): return dict(x.split('=') for x in text.split(',') if x)


def print_table(n, seed):
    """Which rule, or control, is missed, and after how many schedules."""
    unseen = 0
    for name in [*RULES, *CONTROLS]:
        opt = {'rules': set(RULES) - {name}, 'modes': modes(FOCUS.get(name, '')), 'control': name if name in CONTROLS else None}
        for k in range(n):
            bad = World(seed + k, opt).run().bad
            if bad: break
        unseen += not bad
        print('%-16s %s' % (name, '%6d  %s: %s' % (k + 1, *bad[0]) if bad else 'NOT MISSED in %d schedules' % n), flush=True)
    return bool(unseen)


def main(argv):
    opt, pos, only, jobs, table, focus, first, it = {'rules': set(RULES), 'modes': {}}, [], None, 1, False, False, False, iter(argv)
    for a in it:
        if a == '--only': only = int(next(it))
        elif a == '--control': opt['control'] = next(it); assert opt['control'] in CONTROLS, 'no such control'
        elif a == '--without': opt['rules'] -= (names := set(next(it).split(','))); assert names <= set(RULES), 'no such rule'
        elif a == '--modes': opt['modes'] = modes(next(it))
        elif a == '--focus': focus = True
        elif a == '--first': first = True
        elif a == '--jobs': jobs = int(next(it))
        elif a == '--table': table = True
        else: pos.append(int(a))
    if focus: opt['modes'] = modes(','.join(FOCUS.get(name, '') for name in [opt.get('control'), *(set(RULES) - opt['rules'])]))
    if only is not None:
        w = World(only, dict(opt, trace=True)).run()
        print(' '.join('%s=%s' % kv for kv in vars(w.s).items()))
        print('\n'.join(w.trace))
        return bool(w.bad)
    n, seed = (pos + [2000, 1][len(pos):])[:2]
    if table: return print_table(n, seed)
    kinds, examples, cover, bad = Counter(), {}, Counter(), 0
    work = ((s, opt) for s in range(seed, seed + n))
    with multiprocessing.Pool(jobs) as pool:
        for s, broken, covered, about, size in (pool.imap_unordered(one, work, 100) if jobs > 1 else map(one, work)):
            cover += covered
            bad += bool(broken)
            for k, text in {k: t for k, t in broken}.items():
                kinds[k] += 1
                examples.setdefault(k, []).append((size, s, about, text))
            if first and bad: break
    for k, e in sorted(examples.items()):
        for x in sorted(e)[:4]: print('%-6s --only %d  (%s; %s)' % (k, x[1], x[2], x[3]))        # the smallest ones
    print('%d schedules from seed %d: %d with violations %s; covered %s' % (n, seed, bad, dict(kinds), dict(cover)))
    return bool(bad)


if __name__ == '__main__': sys.exit(main(sys.argv[1:]))
