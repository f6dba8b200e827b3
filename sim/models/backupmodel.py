#!/usr/bin/env python3
"""Executable model of the fuzzy backup: recovery point from the oldest update in progress, chains in doubt carried in
the backup by their secondary copies. W: repeat history, with update guards. D: deferred apply, with a redo position.
`python3 backupmodel.py [histories]` fails if a history of the reference does, or if a mutant passes all of them."""
import random,sys
class Bug(Exception): pass
N=6
def undo(db,chain):
    """chain newest->oldest of (lsn,kind,page,before,undo_next); ARIES: a CLR jumps to undo_next"""
    lim=None
    for lsn,kind,pg,before,un in chain:
        if lim is not None and lsn>lim: continue
        if kind=='C': lim=un
        elif kind=='U': db[pg]=before; lim=lsn-1
class W:
    def __init__(s,rng,mut=()):
        s.r=rng; s.mut=set(mut); s.log=[None]          # full history, index = lsn (oracle only)
        s.disk=[(0,0)]*N; s.pend={p:[] for p in range(N)}; s.cur=[0]*N; s.lock={}
        s.T={}; s.nu=1; s.bk=None; s.done=[]; s.S={}   # T: u -> dict(head,floor,state,chain)
    def nl(s): return len(s.log)
    def add(s,**k): s.log.append(k); return len(s.log)-1
    def begin(s): s.T[s.nu]=dict(head=0,floor=0,state='live',recs=[],sec=0); s.nu+=1
    def upd(s):
        l=[u for u,e in s.T.items() if e['state']=='live']
        if not l: return
        u=s.r.choice(l); pg=s.r.randrange(N)
        if s.lock.get(pg,u)!=u: return
        s.lock[pg]=u; e=s.T[u]; v=s.nl()
        lsn=s.add(kind='U',u=u,pg=pg,before=s.cur[pg],after=v,prev=e['head'],un=None)
        s.cur[pg]=v; s.pend[pg].append(lsn); s.note(u,lsn)
    def note(s,u,lsn):
        e=s.T[u]; e['head']=lsn; e['recs'].append(lsn)
        if not e['floor']: e['floor']=lsn
    def apply(s):
        c=[p for p in range(N) if s.pend[p]]
        if c: s.ap1(s.r.choice(c))
    def ap1(s,p): l=s.pend[p].pop(0); s.disk[p]=(s.log[l]['after'],l)
    def fin(s):
        if not s.T: return
        u=s.r.choice(list(s.T)); e=s.T[u]; x=s.r.random()
        if e['state']=='live' and x<.4: e['state']='prep'; s.note(u,s.add(kind='P',u=u,pg=None,before=None,after=None,prev=e['head'],un=None)); return
        if e['state']!='abort' and x<.75:
            s.add(kind='END',u=u,pg=None,before=None,after=None,prev=e['head'],un=None); s.rel(u); return
        e['state']='abort'                            # one undo step at a time (may be cut by the backup target)
        lim=10**9
        for l in reversed(e['recs']):
            r=s.log[l]
            if l>lim: continue
            if r['kind']=='C': lim=r['un']; continue
            if r['kind']=='U':
                c=s.add(kind='C',u=u,pg=r['pg'],before=None,after=r['before'],prev=e['head'],un=l-1)
                s.cur[r['pg']]=r['before']; s.pend[r['pg']].append(c); s.note(u,c); return
        s.add(kind='END',u=u,pg=None,before=None,after=None,prev=e['head'],un=None); s.rel(u)
    def rel(s,u):
        del s.T[u]
        for p in [p for p,x in s.lock.items() if x==u]: del s.lock[p]
        s.S={q:v for q,v in s.S.items() if v[0]!=u}
    def fork(s):
        c=[u for u,e in s.T.items() if e['recs'] and e['floor']]
        if not c: return
        u=s.r.choice(c); e=s.T[u]; src=[l for l in e['recs'] if l>=e['floor']]
        k=s.r.randint(1,len(src)); last=e['sec']
        for l in src[:k]: q=len(s.S)+s.nl()*1000; s.S[q]=(u,l,last); last=q
        e['sec']=last; e['floor']=src[k] if k<len(src) else 0
        s.add(kind='F',u=u,pg=None,before=None,after=None,prev=e['head'],un=None,sec=last,floor=e['floor'])
    # ---- backup
    def bstart(s):
        if s.bk: return
        low=min([q[0] for q in s.pend.values() if q]+[s.nl()])
        rp=s.nl() if 'rp_is_now' in s.mut else low
        s.bk=dict(rp=rp,todo=s.r.sample(range(N),N),pages={})
    def bstep(s):
        if not s.bk: return
        b=s.bk
        if b['todo']: p=b['todo'].pop(); b['pages'][p]=s.disk[p]; return
        b['stop']=s.add(kind='BS',u=0,pg=None,before=None,after=None,prev=0,un=None)
        b['T']={u:dict(head=e['head'],floor=e['floor'],state=e['state'],sec=e['sec']) for u,e in s.T.items()}
        b['S']={} if 'no_secondary' in s.mut else dict(s.S)
        fl=[e['floor'] for e in s.T.values() if e['floor']]
        b['lf']=b['rp'] if 'floor_ignores_chains' in s.mut else min([b['rp']]+fl)
        s.done.append(b); s.bk=None
    # ---- restore using ONLY pages + S + log[lf..target]
    def restore(s,b,target):
        def P(l):
            if l<b['lf'] or l>target: raise Bug(f'restore needs log {l} outside [{b["lf"]},{target}]')
            return s.log[l]
        pages={p:list(v) for p,v in b['pages'].items()}
        for l in range(b['rp'],target+1):
            r=P(l)
            if r['kind'] in 'UC' and pages[r['pg']][1]<l: pages[r['pg']]=[r['after'],l]
        db=[pages[p][0] for p in range(N)]
        T={u:dict(e) for u,e in b['T'].items()}; S=b['S']
        for l in range(b['stop'],target+1):
            r=P(l); k=r['kind']
            if k in('BS',): continue
            if k=='END': T.pop(r['u'],None); continue
            e=T.setdefault(r['u'],dict(head=0,floor=0,state='live',sec=0))
            if k=='F':
                if 'honour_late_forks' in s.mut: e['sec'],e['floor']=r['sec'],r['floor']
                continue                              # the archive still has the originals
            e['head']=l
            if not e['floor']: e['floor']=l
            if k=='P': e['state']='prep'
            if k=='C': e['state']='abort'
        for u,e in T.items():
            if e['state']=='prep': continue           # presented in-doubt, updates kept
            ch=[]; p=e['head']
            while e['floor'] and p>=e['floor']:
                r=P(p); ch.append((p,r['kind'],r['pg'],r['before'],r['un'])); p=r['prev']
            q=e['sec']
            while q:
                if q not in S: raise Bug('secondary copy not in the backup')
                su,l,q=S[q]; r=s.log[l]; ch.append((l,r['kind'],r['pg'],r['before'],r['un']))
            undo(db,ch)
        return db
    def oracle(s,target):
        db=[0]*N; ch={}; st={}
        for l in range(1,target+1):
            r=s.log[l]; k=r['kind']
            if k in 'UC': db[r['pg']]=r['after']
            if k in 'UCP': ch.setdefault(r['u'],[]).append((l,k,r['pg'],r['before'],r['un'])); st[r['u']]={'U':st.get(r['u'],'live'),'C':'abort','P':'prep'}[k]
            if k=='END': ch.pop(r['u'],None)
        for u in ch:
            if st[u]!='prep': undo(db,ch[u][::-1])
        return db
def run(seed,mut=(),steps=140,forks=True):
    r=random.Random(seed); w=W(r,mut)
    for _ in range(steps):
        x=r.choices(['begin','upd','apply','fin','fork','bstart','bstep'],[8,30,22,14,8 if forks else 0,5,14])[0]; getattr(w,x)()
    st=[]
    for b in w.done:
        for t in {b['stop'],w.nl()-1,r.randint(b['stop'],w.nl()-1)}:
            if 'target_before_stop' in w.mut: t=r.randint(b['rp'],b['stop']-1) if b['rp']<b['stop'] else t
            got,want=(w.restore(b,t) if 'target_before_stop' not in w.mut else restore_early(w,b,t)),w.oracle(t)
            if got!=want: raise Bug(f'restore to {t}: {got} != {want}')
        st.append(b['stop']-b['lf'])
    return st
def restore_early(w,b,t):
    pages={p:list(v) for p,v in b['pages'].items()}
    for l in range(b['rp'],t+1):
        r=w.log[l]
        if r['kind'] in 'UC' and pages[r['pg']][1]<l: pages[r['pg']]=[r['after'],l]
    db=[pages[p][0] for p in range(N)]; ch={}; st={}
    for l in range(1,t+1):
        r=w.log[l];k=r['kind']
        if k in 'UCP': ch.setdefault(r['u'],[]).append((l,k,r['pg'],r['before'],r['un'])); st[r['u']]={'U':st.get(r['u'],'live'),'C':'abort','P':'prep'}[k]
        if k=='END': ch.pop(r['u'],None)
    for u in ch:
        if st[u]!='prep': undo(db,ch[u][::-1])
    return db
class D:
    """Deferred apply: a unit's changes reach the pages once it has committed, in the order of commits. The redo
    position is the oldest COMMIT that is not wholly there; what COMMITs from there on need lies below it."""
    def __init__(s,rng,mut=()):
        s.r=rng; s.mut=set(mut); s.log=[None]; s.disk=[0]*N; s.queue=[]; s.lock={}
        s.T={}; s.nu=1; s.bk=None; s.done=[]; s.S={}; s.ended={}      # ended: unit -> its COMMIT, while redo may need it
    def nl(s): return len(s.log)
    def add(s,**k): s.log.append(k); return len(s.log)-1
    def redo(s): return s.queue[0][0] if s.queue else s.nl()
    def begin(s): s.T[s.nu]=dict(head=0,floor=0,state='live',recs=[],sec=0); s.nu+=1
    def note(s,u,l):
        e=s.T[u]; e['head']=l; e['recs'].append(l); e['floor']=e['floor'] or l
    def upd(s):
        l=[u for u,e in s.T.items() if e['state']=='live']
        if not l: return
        u=s.r.choice(l); pg=s.r.randrange(N)
        if s.lock.get(pg,u)!=u: return
        s.lock[pg]=u; s.note(u,s.add(kind='U',u=u,pg=pg,after=s.nl(),prev=s.T[u]['head']))
    def apply(s):
        if not s.queue: return
        if s.queue[0][1]: pg,v=s.queue[0][1].pop(0); s.disk[pg]=v
        if not s.queue[0][1]: s.queue.pop(0)
        held=s.redo()
        if s.bk and 'redo_not_held' not in s.mut: held=min(held,s.bk['rp'])
        for u in [u for u,c in s.ended.items() if c<held]:
            del s.ended[u]; s.S={q:v for q,v in s.S.items() if v[0]!=u}
    def fin(s):
        if not s.T: return
        u=s.r.choice(list(s.T)); e=s.T[u]; x=s.r.random()
        if e['state']=='live' and x<.35: e['state']='prep'; s.note(u,s.add(kind='P',u=u,pg=None,prev=e['head'])); return
        c=x<.8; l=s.add(kind='END',u=u,c=c,prev=e['head'],floor=e['floor'],sec=e['sec'])
        if c:
            s.queue.append((l,[(s.log[q]['pg'],s.log[q]['after']) for q in e['recs'] if s.log[q]['kind']=='U'])); s.ended[u]=l
        else: s.S={q:v for q,v in s.S.items() if v[0]!=u}
        del s.T[u]
        for p in [p for p,x in s.lock.items() if x==u]: del s.lock[p]
    def fork(s):
        c=[u for u,e in s.T.items() if e['floor']]
        if not c: return
        u=s.r.choice(c); e=s.T[u]; src=[l for l in e['recs'] if l>=e['floor']]; k=s.r.randint(1,len(src)); last=e['sec']
        for l in src[:k]: q=len(s.S)+s.nl()*1000; s.S[q]=(u,l,last); last=q
        e['sec']=last; e['floor']=src[k] if k<len(src) else 0
        s.add(kind='F',u=u,pg=None,prev=e['head'],sec=last,floor=e['floor'])
    def bstart(s):
        if not s.bk: s.bk=dict(rp=s.redo(),todo=s.r.sample(range(N),N),pages={})
    def bstep(s):
        b=s.bk
        if not b: return
        if b['todo']: p=b['todo'].pop(); b['pages'][p]=s.disk[p]; return
        b['stop']=s.add(kind='BS',u=0,pg=None,prev=0)
        b['T']={u:dict(head=e['head'],floor=e['floor'],state=e['state'],sec=e['sec']) for u,e in s.T.items()}
        b['S']={} if 'no_secondary' in s.mut else dict(s.S)
        lows=[b['rp']]
        if 'floor_ignores_chains' not in s.mut: lows+=[e['floor'] for e in s.T.values() if e['floor']]
        if 'floor_ignores_commits' not in s.mut:
            lows+=[r['floor'] for r in s.log[b['rp']:] if r['kind']=='END' and r['c'] and r['floor']]
        b['lf']=min(lows); s.done.append(b); s.bk=None
    def restore(s,b,target):
        def P(l):
            if l<b['lf'] or l>target: raise Bug(f'restore needs log {l} outside [{b["lf"]},{target}]')
            return s.log[l]
        db=[b['pages'][p] for p in range(N)]; T={u:dict(e) for u,e in b['T'].items()}
        for l in range(b['rp'],target+1):
            r=P(l)
            if r['kind']=='END':
                # Behind the stop record fork records do not count, and nor does what a COMMIT says of moves.
                e=T.pop(r['u'],None) if l>b['stop'] else dict(head=r['prev'],floor=r['floor'],sec=r['sec'])
                if not r['c'] or not e: continue
                ch=[]; p=e['head']
                while e['floor'] and p>=e['floor']:
                    q=P(p)
                    if q['kind']!='F': ch.append(q)
                    p=q['prev']
                q=e['sec']
                while q:
                    if q not in b['S']: raise Bug('secondary copy not in the backup')
                    _,o,q=b['S'][q]; ch.append(s.log[o])
                for q in reversed(ch):
                    if q['kind']=='U': db[q['pg']]=q['after']
            elif l>b['stop'] and r['kind'] in 'UPF':
                e=T.setdefault(r['u'],dict(head=0,floor=0,state='live',sec=0))
                if r['kind']=='F': continue
                e['head']=l; e['floor']=e['floor'] or l
        return db
    def oracle(s,target):
        db=[0]*N; ch={}
        for r in s.log[1:target+1]:
            if r['kind']=='U': ch.setdefault(r['u'],[]).append(r)
            if r['kind']=='END':
                for q in ch.pop(r['u'],[]) if r['c'] else []: db[q['pg']]=q['after']
        return db
def rund(seed,mut=(),steps=160):
    r=random.Random(seed); w=D(r,mut)
    for _ in range(steps): getattr(w,r.choices(['begin','upd','apply','fin','fork','bstart','bstep'],[8,30,16,16,8,5,14])[0])()
    for b in w.done:
        for t in {b['stop'],w.nl()-1,r.randint(b['stop'],w.nl()-1)}:
            got,want=w.restore(b,t),w.oracle(t)
            if got!=want: raise Bug(f'restore to {t}: {got} != {want}')
    return len(w.done)
REPEAT=['rp_is_now','floor_ignores_chains','no_secondary','honour_late_forks','target_before_stop']
DEFERRED=['floor_ignores_commits','floor_ignores_chains','no_secondary','redo_not_held']
def caught(one,m,n):
    k=0; f=None
    for sd in range(n):
        try: one(sd,(m,))
        except Bug as b: k+=1; f=f or (sd,str(b)[:80])
    return k,f
if __name__=='__main__':
    n=int(sys.argv[1]) if len(sys.argv)>1 else 3000
    a=[]; c=[]; d=0; bad=0
    for sd in range(n):
        try: a+=run(sd); c+=run(sd,forks=False); d+=rund(sd)
        except Bug as b: bad+=1; print('REFERENCE FAILED',sd,b); break
    print(f'reference: {n}x3 histories, {len(a)+len(c)+d} backups, failures={bad}')
    for name,one,mutants in [('repeat history',run,REPEAT),('deferred apply',rund,DEFERRED)]:
        for m in mutants:
            k,f=caught(one,m,min(n,1000)); bad+=k==0
            print(f'{name}, mutant {m:22s}: caught in {k}/{min(n,1000)}, first {f}')
    sys.exit(1 if bad else 0)
