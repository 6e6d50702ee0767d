"""Which single pictures the task "clipart" takes and leaves out, chosen by looking at all of them."""

from __future__ import annotations

from types import MappingProxyType

# Pictures of a class's folders that show something else, that show other classes too, or that are
# broken ("Linked Image Not Found"): the beginnings of their file names.
LEFT_OUT = MappingProxyType(
    {
        "bird": "baby-tux contour_bat duck_yellow_ii mirjam tux_didier turkey_on_platter wing_ bat_",
        "body part": "fawn olifant",
        "building": "brick capitello mobile poltrona sedia small_square soft_blue tavolo television "
        "wooden old_sign school_hallway wall city_horizon",
        "clothing": "feet_in jacob_leisler magic_hat straw_tote",
        "computer": "8port_switch digital firewall handheld_gps rhythmbox gameboy router",
        "dessert": "baby_bottle pie_apple_bw_",
        "drink": "flower-pot icecube ice_cube macchina apple_juice_box_ wine_corks wooden",
        "flower": "cactus cartoon_tree",
        "fruit": "apple_juice candied champignon gumnut juice_glass kallisti pie_ slate straw_tote "
        "tree_whit turkey eris_apple apple_mateya banana_mateya",
        "insect": "lumaca ragn spider virus c_rollandin_ scorpion",
        "mammal": "cat_scrathing crazy_monkey mhooo sleeping_bear shaezy skoynk squeek toro_al "
        "mechorse emule",
        "meal": "frying_pan fuoco turkey_ potato_nicu mateya",
        "musical instrument": "45_rpm rca a_man bach bass_clef beethoveo boombox double fifties "
        "funny gramophone handel headphones jazz microphone musical_note piano_theory quaver "
        "simple sixteenth treble trumpet_harmon trumpet_straight vinyl",
        "person": "3_faces alien angry_punk baby_bottle backpacker blue_eye buddy camper car_ride "
        "cards chat don_t eye feet fingerprint fire_engine gender handshake hands hygieia icons "
        "left_hand right_hand reminder maya ppl pregnancy safety samoa silvia skull eyes "
        "woman_eye wedding_sign van_gogh water_skier beach_trip sailing fireman elfish hide "
        "stylized_yoga team_sketch stripper sexy female_rollandin hikinh john_coltrane "
        "martin_luther water_fight people_juliane_krug_0 inservice al_bar pace_e shoe blue_girl_ "
        "baby_anthony brozo chibi xbill portrait",
        "sports equipment": "a_boy backpacker baseball_cap binoculars cronometro future golf_drive "
        "hikinh judo karate nunchaku roller sport stylized tennis_shoe ticket water_skier football_p",
        "stationery": "arrow1 bluepane calcolatrice cassa cestino clessidra cross cup desk diagramma "
        "fabbrica floppy handphone handshake ink_ inservice istogramma lamp_ lana large_brac laser "
        "lcd lens liberty lightbulb lotion magnif manuscriot megaphone milimetered mobile numero "
        "phone picture_frame printer reunion slim stylized telefono telephone user video wooden "
        "cellular ip_phone red_tele sprint",
        "tool": "binocolo bottle bussola calamita cellular cog compass digital electric engrenagem "
        "ferro gallows green_burner hurricane insecticide ironing kexi lampada lente mag mattone "
        "metal_cage natural nodding orange_burner panel pansement pencil route ruota scart smoke "
        "stefan telescope thermometer toothbrush umbrella unit_blocks scolapasta key_ keyring "
        "chiave lock padlock airbrush blue_vacuum vacuum vavuum",
        "tree or leaf": "bowsaw bypass christmas_balls",
        "vehicle": "bus_symbol crossroads curve cycle_ departing lighthouse parking quay shelby "
        "the_mad wing_ trawler hummer",
        "sky": "00_ tsunami drop_peterm icicles lightning_jon_phillips_0 lightning_jon_phillips_10 "
        "southen",
    }
)

# Pictures from mixed folders: the beginnings of their paths below the folder of openclipart.
PICKED = MappingProxyType(
    {
        "bird": "unsorted/Anatra unsorted/Colombo unsorted/colombo2 unsorted/Pinguino "
        "unsorted/gabbiano unsorted/papera unsorted/pennuto unsorted/struzzo animals/pinguino "
        "animals/tux_head",
        "body part": "people/blue_eye people/eyes_ people/woman_eye people/skull people/handshake "
        "unsorted/paper_R unsorted/rock_R unsorted/scissors_R people/feet_in",
        "building": "unsorted/Condominio unsorted/aziendaVendite unsorted/fattoria unsorted/igloo "
        "education/school_in",
        "clothing": "unsorted/Attaccapanni unsorted/borsetta unsorted/calzettoni "
        "unsorted/vestito_rosa food/toque",
        "flower": "unsorted/rosa unsorted/rose unsorted/van_gogh",
        "fruit": "food/grapes_leif food/fruitcollection",
        "insect": "animals/mosquito",
        "mammal": "unsorted/cammello unsorted/elefant unsorted/mucca unsorted/pecorella "
        "animals/bison animals/armadillo animals/seal_sek animals/sailor",
        "meal": "food/bowl_of food/burrito food/fondue food/french food/fries food/lasagna "
        "food/menu food/onion_rings food/perogies food/pizza food/sandwich food/soup "
        "food/spaghetti food/submarine unsorted/tramezzino",
        "musical instrument": "recreation/holiday/christmas/jingle geography/war_drum",
        "person": "people/ unsorted/ragazz unsorted/principessa unsorted/signorina "
        "unsorted/carpentiere unsorted/Traslocatore unsorted/trekking",
        "sky": "geography/astronomy/ science/astronomy/ recreation/holiday/sunshine "
        "recreation/holiday/rainbow",
        "sports equipment": "recreation/toys/ball recreation/toys/beach recreation/toys/surf "
        "unsorted/pesistica people/clothing/pattino recreation/toys/boomerang",
        "stationery": "education/brush education/colori education/palette education/paint "
        "education/blue_folder unsorted/blocco_notes unsorted/pinzatrice",
        "tool": "unsorted/motosega unsorted/sega_ unsorted/metro_ unsorted/carretta "
        "unsorted/scala_ unsorted/guanti plants/trees/bowsaw plants/trees/bypass",
        "tree or leaf": "plants/albero plants/arbre plants/bamboo plants/cannabis plants/fall_ "
        "plants/island plants/leaf plants/olivier plants/palmtree plants/shamrock plants/tree "
        "plants/reed plants/ca unsorted/foglie recreation/holiday/christmas/xmas "
        "recreation/holiday/christmas/tree decorations/sapin",
        "vehicle": "transportation/ unsorted/Montacarichi unsorted/ambulanza unsorted/betoniera "
        "unsorted/caterpillar people/fire_engine people/car_ride",
    }
)
