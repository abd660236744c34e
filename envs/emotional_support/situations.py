"""What the bundled people live through, in their own words. All texts were written for turngym."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SITUATIONS", "Situation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One thing that happened to somebody."""

    key: str
    """Part of the stable profile id."""
    topic: str
    """What the person can be asked about as theirs; a word of `event`."""
    event: str
    """The first thing the person says about it."""
    feelings: tuple[str, str]
    """Names of feeling families, see `lexicon.FEELINGS`."""
    details: tuple[str, str, str]
    """Told bit by bit."""
    other: str
    """Who else is part of it."""
    deed: str
    """What the person did well, in the past tense after 'I'."""


SITUATIONS = (
    Situation(
        key="driving-test",
        topic="driving test",
        event="I failed my driving test for the third time.",
        feelings=("ashamed", "disappointed"),
        details=(
            "I stalled at the roundabout and then my hands would not stop shaking.",
            "My examiner sighed and wrote something down.",
            "My cousin passed at the first go.",
        ),
        other="my examiner",
        deed="got up at six every Sunday to practise",
    ),
    Situation(
        key="layoff",
        topic="job",
        event="They let me go from my job on Friday.",
        feelings=("anxious", "hurt"),
        details=(
            "It took a ten minute call and then my laptop was locked.",
            "My manager never switched on her camera.",
            "The rent is due in two weeks.",
        ),
        other="my manager",
        deed="stayed to finish the handover for my team",
    ),
    Situation(
        key="breakup",
        topic="partner",
        event="My partner moved out after six years.",
        feelings=("sad", "lonely"),
        details=(
            "Half of the bookshelf is empty now.",
            "There was only a note on the kitchen table.",
            "We had booked a trip to Lisbon for May.",
        ),
        other="my partner",
        deed="told our friends myself without speaking badly of anyone",
    ),
    Situation(
        key="presentation",
        topic="presentation",
        event="I froze in the middle of my presentation.",
        feelings=("ashamed", "anxious"),
        details=(
            "The slide was up and I could not remember one word.",
            "Somebody in the second row laughed.",
            "A colleague had to finish it for me.",
        ),
        other="my colleague",
        deed="went back in and answered the questions afterwards",
    ),
    Situation(
        key="dog",
        topic="dog",
        event="We had to put our old dog to sleep yesterday.",
        feelings=("sad", "guilty"),
        details=(
            "Her bowl is still standing by the door.",
            "The vet said that her kidneys had given up.",
            "I keep hearing her paws on the stairs.",
        ),
        other="the vet",
        deed="held her until the very end",
    ),
    Situation(
        key="new-city",
        topic="city",
        event="I moved to this city four months ago and I know nobody.",
        feelings=("lonely", "sad"),
        details=(
            "On weekends I talk to the cashier and that is it.",
            "My old flatmate hardly answers my messages now.",
            "I ate my birthday cake alone.",
        ),
        other="my old flatmate",
        deed="walked into a climbing club without knowing a soul",
    ),
    Situation(
        key="sister-wedding",
        topic="sister",
        event="My sister left me out of her wedding party.",
        feelings=("hurt", "angry"),
        details=(
            "I found out from a photo of the dresses.",
            "Her college friend is the maid of honour.",
            "Our mother says that I should not make a scene.",
        ),
        other="my sister",
        deed="called her to ask instead of gossiping",
    ),
    Situation(
        key="exam",
        topic="grade",
        event="I missed the grade for nursing school by two points.",
        feelings=("disappointed", "ashamed"),
        details=(
            "The letter came while my parents were in the room.",
            "I had already bought the shoes for the wards.",
            "My tutor told me that I was a safe bet.",
        ),
        other="my tutor",
        deed="studied every night after my shift at the bakery",
    ),
    Situation(
        key="credit-stolen",
        topic="project",
        event="A colleague presented my project as his own.",
        feelings=("angry", "hurt"),
        details=(
            "Even my typo on page nine was still there.",
            "Our boss shook his hand in front of everybody.",
            "I said nothing and looked at my shoes.",
        ),
        other="my colleague",
        deed="built the whole forecast from nothing in three weeks",
    ),
    Situation(
        key="newborn",
        topic="baby",
        event="The baby has not slept for more than two hours in weeks.",
        feelings=("exhausted", "guilty"),
        details=(
            "Last night I shouted at the cot and then I cried in the hallway.",
            "My husband sleeps in the study because of his work.",
            "The other mothers in the group look so calm.",
        ),
        other="my husband",
        deed="asked my neighbour for help when I was at the end",
    ),
    Situation(
        key="father-ill",
        topic="father",
        event="My father forgot my name at dinner on Sunday.",
        feelings=("sad", "anxious"),
        details=(
            "He called me by his brother's name, twice.",
            "He taught me every tree in the forest when I was small.",
            "My brother says it is only his age.",
        ),
        other="my brother",
        deed="drove him to the memory clinic on my own",
    ),
    Situation(
        key="friend-ghosted",
        topic="best friend",
        event="My best friend has stopped answering me.",
        feelings=("hurt", "lonely"),
        details=(
            "She reads the messages, I can see it.",
            "Last week she posted pictures from a picnic with everybody.",
            "We have known each other since kindergarten.",
        ),
        other="my best friend",
        deed="wrote her an honest letter",
    ),
    Situation(
        key="debt",
        topic="credit card bills",
        event="I opened the credit card bills and it is eleven thousand.",
        feelings=("overwhelmed", "ashamed"),
        details=(
            "I had hidden the envelopes in a shoebox for a year.",
            "My wife thinks that we are saving for a flat.",
            "The bank calls every morning at eight.",
        ),
        other="my wife",
        deed="opened every single envelope and wrote the sums down",
    ),
    Situation(
        key="caregiver",
        topic="mother",
        event="I have cared for my mother alone since her stroke.",
        feelings=("exhausted", "angry"),
        details=(
            "I lift her out of bed at five, before work.",
            "My brother sends flowers and calls that helping.",
            "I have not had a free evening since March.",
        ),
        other="my brother",
        deed="learned how to do all of her exercises with her",
    ),
    Situation(
        key="teacher",
        topic="class",
        event="A parent screamed at me in front of my class.",
        feelings=("hurt", "angry"),
        details=(
            "She said that I was the reason her son hates school.",
            "Twenty six children looked at me.",
            "The principal only asked me to apologise.",
        ),
        other="the principal",
        deed="stayed calm until the children were outside",
    ),
    Situation(
        key="accident",
        topic="car",
        event="I scraped a cyclist with my car last week.",
        feelings=("guilty", "anxious"),
        details=(
            "He came out from behind a delivery van.",
            "He has a broken wrist and a little daughter.",
            "Each time I touch the keys I feel sick.",
        ),
        other="the cyclist",
        deed="stopped at once and stayed with him until the ambulance came",
    ),
    Situation(
        key="rejection",
        topic="novel",
        event="The ninth publisher turned my novel down today.",
        feelings=("disappointed", "sad"),
        details=(
            "It was a form letter and my name was spelled wrong.",
            "I have written on that book for seven years.",
            "My uncle asked when I will look for real work.",
        ),
        other="my uncle",
        deed="kept writing at the kitchen table after every letter",
    ),
    Situation(
        key="promotion",
        topic="promotion",
        event="They gave my promotion to the new guy.",
        feelings=("jealous", "disappointed"),
        details=(
            "I trained him only last autumn.",
            "My boss said that he has more presence.",
            "Now I have to send him my reports.",
        ),
        other="my boss",
        deed="congratulated him to his face",
    ),
    Situation(
        key="deadlines",
        topic="thesis",
        event="My thesis is due in nine days and I have three deadlines besides.",
        feelings=("overwhelmed", "anxious"),
        details=(
            "I slept four hours and dreamed of footnotes.",
            "My supervisor changed the outline again last night.",
            "I cannot even open the file any more.",
        ),
        other="my supervisor",
        deed="finished the hardest chapter on my own",
    ),
    Situation(
        key="ex-engaged",
        topic="ex",
        event="My ex is engaged, I saw it online this morning.",
        feelings=("jealous", "sad"),
        details=(
            "It is the same beach where we spent our last summer.",
            "He once told me that he never wanted to marry.",
            "I called in sick and stayed on the sofa.",
        ),
        other="my ex",
        deed="put the phone away and did not write to him",
    ),
)
